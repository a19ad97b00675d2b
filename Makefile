# `make` alone lists what there is; every target can be repeated.
PYTHON ?= python3
BIN := .venv/bin
# the engine of the containers: Docker's compose, or one that takes its place
COMPOSE ?= $(or $(shell docker compose version > /dev/null 2>&1 && echo docker compose),$(shell command -v podman-compose),$(shell command -v compose-lab),docker compose)

.DEFAULT_GOAL := help
.PHONY: help setup setup-s3 demo up down status test test-e2e test-faults test-clusters lint format bench bench-quick bench-sizing browser \
	compose-up compose-demo compose-down test-compose

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything below this folder: .venv from the lock, the jars (2 minutes, then 1 second)
	@$(PYTHON) bootstrap.py

setup-s3: setup ## what a warehouse in an S3-compatible bucket needs beside it: one jar of 69 MB
	@$(BIN)/python -m daybook.setup.jars s3

demo: setup ## one generated day of 20,000 events (or EVENTS=N) through the whole line, on the running stack or a new one
	@$(BIN)/daybook demo $(if $(EVENTS),--events $(EVENTS))

up: setup ## start Kafka, PostgreSQL, the intake and Airflow; returns when all are healthy
	@$(BIN)/daybook up

down: ## stop all of it
	@$(BIN)/daybook down

status: ## what runs, and the ledger of the days
	@$(BIN)/daybook status

compose-up: ## the same in containers: make secrets and images, start all, wait until it is healthy (needs Docker only)
	@$(PYTHON) docker/make_secrets.py docker/secrets
	@$(COMPOSE) up -d --build --wait

compose-demo: compose-up ## the day of `make demo` on it
	@$(COMPOSE) --profile tools run --rm daybook demo
	@echo "Airflow  http://127.0.0.1:$${DAYBOOK_AIRFLOW_PORT:-8080}   intake  http://127.0.0.1:$${DAYBOOK_API_PORT:-5000}"
	@echo "\`make compose-down\` stops the stack and keeps its days."

compose-down: ## stop it; its volumes keep Kafka, the lake and the state
	@$(COMPOSE) down

lint: setup ## style, types, SQL, which package imports which, subjects of commits
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary .
	@$(BIN)/sqlfluff lint --disable-progress-bar spark/sql
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/python .ci/commit_subjects.py

bench: setup ## every stage beside what one would pick instead; writes benchmarks/RESULTS.md (hours; needs ab; node for one peer)
	@$(BIN)/python -m benchmarks

bench-quick: setup ## the same with small sizes and few rounds: that it works, no figures (5 minutes)
	@$(BIN)/python -m benchmarks --quick

bench-sizing: setup ## what a million events cost each part; writes the tables of docs/sizing.md anew (15 minutes)
	@$(BIN)/python -m benchmarks.sizing

test-faults: setup ## every fault of a year, each as often as its table says (80 minutes); prints the table
	@DAYBOOK_FAULTS=full $(BIN)/pytest -v -n 2 --dist loadscope tests/faults

test-clusters: setup-s3 ## the same code on real clusters: three Kafka brokers, TLS and users, Spark workers, a bucket, catalogs (20 minutes); prints the figures
	@DAYBOOK_CLUSTERS=full $(BIN)/pytest -v tests/clusters

test-e2e: setup browser ## Airflow's UI in a real browser: the form, backfills of ten days in every way, pictures for docs/
	@DAYBOOK_E2E=full $(BIN)/pytest -v tests/e2e

test-compose: setup ## the Compose stack for real: a day, a backfill with a killed worker, compared with the embedded one
	@$(PYTHON) docker/make_secrets.py docker/secrets
	@COMPOSE="$(COMPOSE)" DAYBOOK_COMPOSE=full $(BIN)/pytest -v -s tests/compose

browser: setup ## install a browser for the end-to-end tests, if none is there
	@$(BIN)/python -m tests.e2e.browser

format: setup ## write Python and SQL in the house style
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

test: lint browser ## all checks and tests, on stacks of their own beside one that is up (an hour)
	@$(BIN)/pytest -q -n 2 --dist loadscope --no-loadscope-reorder --durations 40 --durations-min 10
