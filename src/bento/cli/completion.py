"""`bento completion bash`: the shell completes commands and domain names. It never starts the manager for that."""

import argparse
import json

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager, request
from bento.cli.verbs import VERBS

BASH = """\
_bento() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}}
    case $COMP_CWORD:$verb in
        1:*) COMPREPLY=($(compgen -W "{verbs}" -- "$word")) ;;
{pairs}
        *:cp) COMPREPLY=($(compgen -f -- "$word") $(compgen -S : -W "$("$1" completion names)" -- "$word")) ;;
        *) COMPREPLY=($(compgen -W "$("$1" completion names)" -- "$word")) ;;
    esac
}}
complete -F _bento bento
"""


def declare_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print a script for bash: put  source <(bento completion bash)  into your .bashrc."
    parser.add_argument("what", choices=("bash", "names"), help="the script, or the domains' names, one a line")


def completion(words: argparse.Namespace, manager: Manager) -> int:
    print("\n".join(_names(manager)) if words.what == "names" else script(), end="")
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


def _names(manager: Manager) -> list[str]:
    try:
        return [row["name"] for row in json.loads(manager.ask(request("bento.vm.Table")))]
    except Failed:
        return []  # no manager: nobody to tell, and a completion is no moment for sentences
