# `make` or `make help` lists the targets.

# The one place that chooses a torch, e.g. make demo TORCH="torch==2.13.0+cu130"
TORCH ?= torch==2.13.0
# The first Python from 3.11 to 3.13 that is there.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
# Processes that run the tests.
JOBS ?= 2

BIN := .venv/bin
export OMP_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit lint format docs sizes trials reproduce-bvpo reproduce-irpo lab wheel clean

help: ## this list
	@echo "usage: make <target>"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## make .venv with bvrank and everything it needs

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python from 3.11 to 3.13 is on the PATH"; exit 2; }
	$(PYTHON) -m venv .venv
	grep -v '^torch==' constraints.txt > .venv/constraints.txt
	echo "$(TORCH)" >> .venv/constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c .venv/constraints.txt "$(TORCH)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c .venv/constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## set up, then train a tiny reasoning model with BVPO and show what changed
	$(BIN)/bvrank train objective=bvpo

test: lint unit ## set up, then check style and types and run every test

unit: setup ## run every test
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(JOBS)

lint: setup ## check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## write docs/objectives.md and its pictures from the code
	$(BIN)/python -m docs.objectives

sizes: setup ## print lines of code and tests, length of functions and files
	@$(BIN)/python tests/sizes.py

trials: setup ## tables of what the real command did: engines, kills, ranks, faults (TRIALS="kill seed=1")
	$(BIN)/python -m tests.trials $(TRIALS)

reproduce-bvpo: setup ## smoke tier: DPO against BVPO on the tiny model, beside the paper's figures
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/reproduce_bvpo.sh

reproduce-irpo: setup ## smoke tier: S-DPO against IRPO on the tiny model, beside the paper's figures
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/reproduce_irpo.sh

lab: setup ## the enumerable model: theorems checked, seeds trained, one page with every figure
	$(BIN)/bvrank lab

wheel: setup ## build dist/*.whl
	$(BIN)/python -m build --no-isolation --wheel

clean: ## remove caches and builds (.venv and outputs/ stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
