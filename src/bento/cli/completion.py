"""`bento completion bash`: the shell completes commands, options and domain names, and never starts the manager."""

import argparse
import json
from collections.abc import Sequence

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager, request
from bento.cli.verbs import VERBS, parser_of

BASH = """\
_bento() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}}
    if [[ $COMP_CWORD -gt 1 && $word == -* ]]; then
        COMPREPLY=($(compgen -W "$("$1" completion options "$verb" "${{COMP_WORDS[2]}}")" -- "$word"))
        return
    fi
    case $COMP_CWORD:$verb in
        1:*) COMPREPLY=($(compgen -W "{verbs}" -- "$word")) ;;
{pairs}
        *:cp) COMPREPLY=($(compgen -f -- "$word") $(compgen -S : -W "$("$1" completion names)" -- "$word")) ;;
        *:disp) COMPREPLY=($(compgen -f -- "$word")) ;;
        *) COMPREPLY=($(compgen -W "$("$1" completion names)" -- "$word")) ;;
    esac
}}
complete -F _bento bento
"""


def declare_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print a script for bash: put  source <(bento completion bash)  into your .bashrc."
    parser.add_argument("shell", metavar="bash", help="the one shell that there is a script for")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)  # what the script itself asks


def completion(words: argparse.Namespace, manager: Manager) -> int:
    match words.shell:
        case "names":
            print("\n".join(_names(manager)), end="")
        case "options":
            print("\n".join(_options(words.command)), end="")
        case "bash" if not words.command:
            print(script(), end="")
        case _:
            raise Failed("there is a script for bash, and no other: bento completion bash", Code.BAD_INPUT)
    return Code.DONE


def script() -> str:
    first: dict[str, list[str]] = {}
    for name in VERBS:
        verb, _, second = name.partition(" ")
        first.setdefault(verb, []).append(second)
    pairs = [
        f'        2:{verb}) COMPREPLY=($(compgen -W "{" ".join(seconds)}" -- "$word")) ;;'
        for verb, seconds in first.items()
        if any(seconds)
    ]
    return BASH.format(verbs=" ".join(first), pairs="\n".join(pairs))


def _options(words: Sequence[str]) -> list[str]:
    """Those of the command that `words` begin with, in full length."""
    name = next((name for name in (" ".join(words[:2]), *words[:1]) if name in VERBS), None)
    if name is None:
        return []
    found: list[str] = []
    for action in parser_of(name)._actions:  # argparse has no other way to ask
        found += [option for option in action.option_strings if option.startswith("--")]
    return found


def _names(manager: Manager) -> list[str]:
    try:
        return [row["name"] for row in json.loads(manager.ask(request("bento.vm.Table")))]
    except Failed:
        return []  # no manager: nobody to tell, and a completion is no moment for sentences
