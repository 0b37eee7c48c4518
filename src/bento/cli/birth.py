"""What a new disposable shall be: the options of the commands that make one, and what of them the manager is told."""

import argparse


def declare_birth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", "-l", metavar="LABEL", help="the disposable's colour (its template's)")
    parser.add_argument("--netvm", metavar="DOMAIN", help="what gives it network; in this version only none")
    parser.add_argument(
        "--fresh", action="store_true", help="boot it, which takes longer, and share no memory with other disposables"
    )


def birth(words: argparse.Namespace) -> dict[str, str]:
    """Settings of `bento.vm.Call`: as far as they were given."""
    found = {"label": words.label, "netvm": words.netvm, "fresh": "yes" if words.fresh else None}
    return {key: value for key, value in found.items() if value is not None}
