# A fresh machine needs Python 3.11 or newer, Java 17, Maven and make; the rest is made here.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Bash sets SECONDS itself: only what stands on make's command line counts.
LIMIT := $(if $(filter command line,$(origin SECONDS)),--seconds $(SECONDS))

# Tests wait much of their time: two processes take hardly more than half as long on two cores.
PROCESSES := 2

# Nothing is inferred here, and a file called `run` or `test` must not hide a target.
MAKEFLAGS += --no-builtin-rules
.PHONY: run test bench chaos lint format lock clean help venv

run: $(STAMP) ## Kafka, all stages, a backend and a replayed recording, live; SECONDS=30 ends by itself
	@exec $(BIN)/otlp-streams demo $(LIMIT) $(ARGS)

# The kernels are compiled first, once, lest each process compile them for itself.
test: $(STAMP) ## every test, on a real Kafka each process; ARGS="-k name" for some, PROCESSES=1
	@$(BIN)/python -m topologies.kernels
	@exec $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal $(ARGS)

bench: $(STAMP) ## items per CPU-second and peak memory, as a table
	@exec $(BIN)/python -m tests.bench $(ARGS)

chaos: $(STAMP) ## workers, and whatever can happen to them, for MINUTES=30; SEED=1, ARGS="--kind windows"
	@$(BIN)/python -m topologies.kernels
	@exec $(BIN)/python -m tests.broker.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: $(STAMP) ## format, style, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

venv: $(STAMP) ## only the environment

# Every package by hash; then our own, editable, built by what was just installed.
$(STAMP): requirements.lock pyproject.toml
	@python=$${PYTHON:-}; \
	for candidate in python3.11 python3.12 python3.13 python3; do \
	  [ -n "$$python" ] && break; \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then python=$$candidate; fi; \
	done; \
	[ -n "$$python" ] || { echo "Python 3.11 to 3.13 with venv is needed (or PYTHON=/path/to/one)." >&2; exit 1; }; \
	[ -x $(BIN)/python ] || "$$python" -m venv .venv
	@echo "Installing the locked packages into .venv ..."
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# What the developer's, the image's and the image builder's environments consist of. All three
# are made together, so that a version never differs between them.
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock: $(STAMP) ## resolve again what pyproject.toml asks for; UPGRADE=--upgrade takes newer versions
	$(PIP) install --quiet uv
	$(COMPILE) $(UPGRADE) pyproject.toml --group dev -o requirements.lock
	$(COMPILE) pyproject.toml -c requirements.lock -o deploy/requirements.lock
	echo 'hatchling' | $(COMPILE) - -c requirements.lock -o deploy/build.lock

clean: ## remove the environment, caches, downloaded jars and local data
	rm -rf .venv .kafka .numba dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
