# Podium's recipes. `make demo` and `make test` need Python 3.11+ and make, and set up everything else themselves.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
PEERS ?= optuna
BENCH ?=
BIN := $(VENV)/bin
STAMP = $(VENV)/.installed-$(1)-$(shell cksum pyproject.toml | cut -d' ' -f1)

.PHONY: help
help: ## Show the recipes
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# --- set-up: a virtual environment per Makefile, refreshed when pyproject.toml changes -------------------------

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Podium needs Python 3.11 or newer, got $$($(PYTHON) -V); set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

define install
$(call STAMP,$(1)): | $(VENV)/bin/python
	@echo "installing Podium with its extra '$(1)' ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(1)]'
	@rm -f $(VENV)/.installed-$(1)-* && touch $$@
endef
$(eval $(call install,local))
$(eval $(call install,dev))
$(eval $(call install,bench))

# --- use ------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(call STAMP,local) ## Tune a real model on this machine, in about a minute and a half
	$(BIN)/podium run examples/quickstart.yaml

.PHONY: bench
bench: $(call STAMP,bench) ## Measure search and scheduling, against peers: a few minutes (see docs/benchmarks.md)
	$(BIN)/python -m bench.peers install $(PEERS)
	$(BIN)/python -m bench $(if $(BENCH),$(BENCH),quick)

# --- checks ---------------------------------------------------------------------------------------------------

.PHONY: test
test: check unit thorough local ## Everything that needs no cluster: checks, unit tests, real local processes

.PHONY: check
check: $(call STAMP,dev) ## Formatting, lint, types, import rules, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests bench
	$(BIN)/lint-imports
	$(BIN)/python -m podium_contract.crd --check

.PHONY: unit
unit: $(call STAMP,dev) ## Unit and property tests, without the thorough ones
	$(BIN)/pytest tests/unit -m "not thorough" -n auto

.PHONY: thorough
thorough: $(call STAMP,dev) ## Unit tests that try every way, or search for long: some minutes
	$(BIN)/pytest tests/unit -m thorough -n auto

.PHONY: local
local: $(call STAMP,dev) ## Tests with real processes on this machine
	$(BIN)/pytest tests/local -n 3 --dist loadscope

.PHONY: e2e
e2e: $(call STAMP,dev) ## The whole on a real cluster: KUBECONFIG's, kind's, or one of plain processes
	export KUBECONFIG PATH="$$PATH:$$HOME/.cache/podium-cluster/bin"; KUBECONFIG=$$(scripts/test-cluster); \
	$(BIN)/pytest tests/e2e -m "not alone" -n 4 --dist loadscope --reruns 1 --rerun-show-tracebacks -raR --durations 10; \
	$(BIN)/pytest tests/e2e -m alone -raRP --reruns 1 --rerun-show-tracebacks --durations 10

.PHONY: cluster-down
cluster-down: ## Stop the project's own test cluster
	tests/cluster/cluster down

.PHONY: images
images: ## Build the three images
	scripts/images

.PHONY: format
format: $(call STAMP,dev) ## Format the code, and mend what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: crds
crds: $(call STAMP,dev) ## Generate the CRDs and docs/manifest.md from the contract
	$(BIN)/python -m podium_contract.crd --write

.PHONY: clean
clean: ## Remove what the recipes made, results excepted
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
