# Two commands matter: `make loop` and `make test`. Both make .venv first and need nothing but Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: loop test lint install install-dev

loop: install
	$(BIN)/funreason loop --rounds 3

test: install-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check funreason tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py

install: .venv/installed
install-dev: .venv/installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[train,tui]'
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[train,lora,bfcl,tui,serve,endpoint,dev]'
	touch $@ .venv/installed
