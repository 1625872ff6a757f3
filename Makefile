# Every target sets up what it needs in .venv; python3.11 and make are enough to start.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCHMARKS := quantize wire update delivery residency switch inference
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test check e2e bench proto format clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt tests/support/moto.txt tests/support/triton.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	$(PYTHON) -m venv $(VENV)/moto
	$(VENV)/moto/bin/pip install --disable-pip-version-check -q -r tests/support/moto.txt
	$(PYTHON) -m venv $(VENV)/triton
	$(VENV)/triton/bin/pip install --disable-pip-version-check -q -r tests/support/triton.txt
	@touch $@

demo: $(READY) ## Run the main job: push, deliver, run, upgrade, evict, update, roll back (build/demo/)
	$(BIN)/python -m benchmarks.demo

test: $(READY) ## Run the tests
	$(BIN)/pytest -n 2 -m 'not e2e'

check: $(READY) ## Lint, types, import rules, wire contract and migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python proto/check.py
	cd proto && buf lint
	$(BIN)/python -m server.registry.migrate --check

e2e: $(READY) ## Drive the compose fleet (needs a container engine)
	$(BIN)/pytest -m e2e tests/e2e -x

bench: $(READY) ## Run every benchmark; JSON in build/bench/
	@mkdir -p build/bench
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --json build/bench/$$name.json; done

proto: $(READY) ## Write the gRPC and protobuf stubs anew
	proto/generate.sh

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only -q .

clean: ## Remove what was built (not .venv)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
