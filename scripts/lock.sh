#!/bin/sh
# Pin what pyproject.toml and requirements/dev.in ask for, with the digest of every file that may be installed:
# `make lock`, or `make lock UPGRADE=--upgrade` for the newest of everything. The lock names no registry: where
# packages come from is the machine's affair, what they contain is ours.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${1:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check pip-tools
mkdir "$work/tree"
cp -r pyproject.toml requirements src "$work/tree"
cd "$work/tree"
"$work/venv/bin/pip-compile" --quiet ${UPGRADE:-} --generate-hashes --strip-extras --extra desktop --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-options --no-emit-trusted-host \
    --output-file requirements/lock.txt pyproject.toml requirements/dev.in 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
cd - >/dev/null
{ echo '# Written by `make lock`.'; cat "$work/tree/requirements/lock.txt"; } >requirements/lock.txt
