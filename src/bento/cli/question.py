"""A question as lines of a terminal, and what the person typed as its answer. Pure."""

import re

from bento.cli.render import Paint
from bento.wire.consent import MAX_TERM_SECONDS, Answer, No, Party, Question, Term, Yes

SHOWN = 160
"""Characters of an argument that are shown unasked."""

UNITS = {"m": 60, "h": 3600, "d": 86_400}

WHOLE = "whole"
"""What to type to see all of a long argument."""

HOW = "NUMBER allows it once, NUMBER session while {source} runs, NUMBER 2h for two hours (m, h, d). Enter alone is no."


def lines(question: Question, paint: Paint) -> list[str]:
    """The question, without the line that is typed on."""
    source = _painted(question.source, paint)
    facts: list[tuple[str, str]] = [("service", question.service)]
    if question.argument:
        facts.append(("argument", elided(question.argument)))
    named = question.requested not in ("", "@default")
    facts.append(("asked for", question.requested if named else "no domain in particular"))
    if question.user:
        facts.append(("runs as", question.user))
    width = len(str(len(question.choices)))
    choices = [
        f"  {number:>{width}}  {_painted(choice, paint)}"
        + ("   (suggested)" if choice.name == question.default else "")
        for number, choice in enumerate(question.choices, start=1)
    ]
    return [
        "",
        f"{source} asks to call a service. You have {question.seconds} s to answer; then it is no.",
        *(f"  {what:9} {value}" for what, value in facts),
        "Where may it go?",
        *choices,
        HOW.format(source=question.source.name),
    ]


def elided(argument: str) -> str:
    if len(argument) <= SHOWN:
        return argument
    return f"{argument[:SHOWN]}... ({len(argument)} characters; type {WHOLE} to see them all)"


def parse(line: str, question: Question) -> Answer | str:
    """The answer, or the sentence that says why this is none."""
    words = line.split()
    if not words or words in (["n"], ["no"], ["0"]):
        return No()
    number, *more = words
    if not re.fullmatch("[0-9]{1,4}", number) or not 0 < int(number) <= len(question.choices):
        return f"'{number[:20]}' is none of the numbers above."
    target = question.choices[int(number) - 1].name
    match more:
        case []:
            return Yes(target)
        case ["session"]:
            return Yes(target, Term.SESSION)
        case [time] if found := re.fullmatch("([0-9]{1,6})([mhd])", time):
            seconds = int(found[1]) * UNITS[found[2]]
            if 0 < seconds <= MAX_TERM_SECONDS:
                return Yes(target, Term.UNTIL, seconds)
            return f"A grant lasts from 1m to {MAX_TERM_SECONDS // UNITS['d']}d."
        case _:
            return f"'{' '.join(more)[:20]}' is neither session nor a time such as 30m, 2h or 1d."


def _painted(party: Party, paint: Paint) -> str:
    shown = paint.label(party.name, f"#{party.rgb:06x}")
    return shown if paint.on else f"{shown} ({party.label})"
