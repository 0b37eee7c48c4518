# The single door. Each target makes ready what it needs (scripts/setup.py; nothing to do the second time) and runs as
# somebody who is not root (scripts/as_user.py): as you, or as the account `bento` if you are root.

# Debian's own Python where there is one: the same that the packages were made for.
PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
AS_USER = $(PYTHON) -B scripts/as_user.py
PYTEST = $(AS_USER) python -m pytest

.PHONY: help setup demo demo-clean test check lint bench bench-start bench-rpc bench-disposable tcb fuzz soak lock clean

help:
	@echo 'make demo        build a template if there is none, start five domains and a disposable, show what they can and cannot do'
	@echo 'make demo-clean  take away what the demo made'
	@echo 'make test        lint, every test, the coverage gate (what CI runs)'
	@echo 'make check       lint, and the tests that need no virtual machine and are not slow'
	@echo 'make lint        ruff, mypy, import-linter'
	@echo 'make bench       all benches; bench-start, bench-rpc and bench-disposable run one'
	@echo 'make tcb         which files read what a guest wrote, process by process, and how many lines they are'
	@echo 'make fuzz        every fuzz target for SECONDS (600) each; figures in bench/results/fuzz.json'
	@echo 'make soak        the tests that run for an hour and more'
	@echo 'make lock        renew requirements/lock.txt'
	@echo 'make clean       remove .venv, caches and bench results'

setup:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'bento: this needs Python 3.11 or newer' >&2; exit 2; }
	@$(PYTHON) -B scripts/setup.py

demo: setup
	@$(AS_USER) python scripts/demo.py

demo-clean: setup
	@$(AS_USER) python scripts/demo.py --clean

lint: setup
	$(AS_USER) ruff check --quiet .
	$(AS_USER) ruff format --check --quiet .
	$(AS_USER) mypy
	$(AS_USER) lint-imports --no-cache --no-logo

test: lint
	$(PYTEST) --cov --cov-report=term

check: lint
	$(PYTEST) -n auto --dist loadfile --hypothesis-profile check -m 'not vm and not slow and not soak'

soak: setup
	$(PYTEST) -m soak -o timeout=0

bench: bench-start bench-rpc bench-disposable

bench-start bench-rpc bench-disposable: bench-%: setup
	@$(AS_USER) python -m bench.$*; status=$$?; $(PYTHON) -B scripts/place.py collect; exit $$status

tcb: setup
	@$(AS_USER) python scripts/tcb.py

fuzz: setup
	@$(AS_USER) python -m tests.fuzz --seconds $(or $(SECONDS),600) --json bench/results/fuzz.json; status=$$?; $(PYTHON) -B scripts/place.py collect; exit $$status

lock:
	@scripts/lock.sh $(PYTHON)

clean:
	@$(PYTHON) -B scripts/place.py clean
