"""May this domain call that service over there? Text in, decision out, and nothing else.

    files.assemble    names and bytes of the policy files -> Policy
    grammar.parse     one file's text -> its rules and includes, or a PolicyError that names the place
    includes.Reader   files that include each other -> one list of rules
    index.Index       the rules -> the first that matches a call, without trying each
    decide.decide     (Policy, Call, World) -> Allowed, Asking or Denied
    explain.explain   the same, and the rules above that nearly matched
    check.check       (Policy, World) -> rules that can never match, names that mean nobody
    reach.reach       (Policy, World) -> who can reach whom, directly and by way of others
    diff.diff         (Policy, Policy, World) -> what the second newly allows, asks about, denies or alters
    invariant.breaches  (Statements, Policy, World) -> those that do not hold, each with how
    simulate.simulate   (calls of the log, Policy, World) -> those that would be decided otherwise

Everything here is pure: whoever reads files, asks a person, or starts a
domain does it elsewhere and brings the outcome in as a value. What a guest
says comes in already parsed (`Call`); the source of a call is what the
manager knows, never what the caller claims.

The language is the field's (qrexec policy 5), so that people can bring their
files. Where the field lets pass a word that can never match anything, Bento
calls the file malformed: a deny line that never matches is a hole.
"""
