# Every target brings what it needs: Python ≥ 3.11, make and a package index are enough.
# `uv` is used when it is there, and otherwise installed into .uv/ by pip.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka up test check fast bench bench-kafka kafka kafka-stop kafka-wipe generate clean

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
RUN := $(BIN)/python -m

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## the main job on realistic input, to its end
	@$(BIN)/comity demo $(ARGS)

demo-kafka: $(READY) ## the same on Apache Kafka, partners natively on it (needs Java 17 and Maven)
	@deploy/demo-kafka $(ARGS)

up: $(READY) ## the same hub, serving until you stop it
	@$(BIN)/comity up $(ARGS)

test: $(READY) ## every test
	@deploy/test $(ARGS)

check: $(READY) ## format, lint, types, import contract, fast tests
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy && $(BIN)/lint-imports
	@$(MAKE) --no-print-directory fast

fast: $(READY)
	@$(RUN) pytest -q -m "not slow and not crash and not kafka" -n 2 $(ARGS)

bench: $(READY) ## what this machine does, in numbers (ARGS="-o json")
	@$(BIN)/comity bench $(ARGS)

bench-kafka: $(READY) ## what a router on Kafka does beside relays that check nothing; some minutes (needs Java 17 and Maven)
	@$(RUN) bench.kafka $(ARGS)

kafka: ## Apache Kafka on this machine, one node on 127.0.0.1:9092 (needs Java 17 and Maven)
	@$(PYTHON) deploy/kafka/broker start $(ARGS)

kafka-stop: ## stop it; its data stays in .kafka
	@$(PYTHON) deploy/kafka/broker stop

kafka-wipe: ## stop it and forget its data
	@$(PYTHON) deploy/kafka/broker wipe

generate: $(READY) ## write the generated files anew: JSON Schemas, command line help
	@$(RUN) tools.generate

clean: ## forget everything that was installed or built here
	@rm -rf .venv .uv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage

$(READY): pyproject.toml uv.lock deploy/setup
	@PYTHON="$(PYTHON)" deploy/setup
	@touch $@
