# The commands of this project; CI runs these and nothing else.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup up test check e2e bench soak kafka lock clean help
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

setup: $(BIN)/trunkline ## .venv with trunkline in it, and nothing else

# One pinned set for running and developing: what is tested is what runs.
$(BIN)/trunkline: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trunkline needs Python 3.11 or newer, this is " + sys.version)'
	@echo "installing pinned dependencies into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(BIN)/trunkline

$(VENV)/.dev: $(BIN)/trunkline requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

up: setup ## the whole product on one machine, with live synthetic traffic
	@$(BIN)/trunkline up

test: $(VENV)/.dev ## everything that needs only Python
	@$(BIN)/python -m pytest -q -m "not e2e"

check: $(VENV)/.dev ## format, lint, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

# What the suites need beside Python is installed where missing; the tests start it themselves.
NEEDED := $(if $(shell command -v java),,openjdk-17-jre-headless) $(if $(shell command -v mvn),,maven) \
	$(if $(shell command -v chromium),,chromium) $(if $(shell command -v strace),,strace)

e2e: $(VENV)/.dev ## real Apache Kafka, real Chromium, real processes; skips nothing
	@$(if $(strip $(NEEDED)),echo "installing $(strip $(NEEDED)) ..." && $(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $(NEEDED) >/dev/null)
	@$(BIN)/python -m pytest -q -m e2e

bench: $(VENV)/.bench ## ratios against limits and peers, side by side in one run
	@$(BIN)/python -m bench

$(VENV)/.bench: $(VENV)/.dev requirements-bench.lock
	@$(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

soak: $(VENV)/.dev ## faults at random under load, for SOAK_SECONDS (600)
	@$(BIN)/python -m tests.load.soak --seconds $${SOAK_SECONDS:-600}

kafka: $(BIN)/trunkline ## a real Apache Kafka on loopback, in the foreground
	@deploy/kafka/run

help: ## this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

lock: ## pin every dependency by hash, without any index or URL
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--group build pyproject.toml -o requirements.lock
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--group build --group bench -c requirements.lock pyproject.toml -o requirements-bench.lock

clean:
	rm -rf $(VENV) $(VENV)-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
