# `make` without a target lists the targets; each of them can be repeated.
PYTHON ?= python3
BIN := .venv/bin
# the container engine: Docker's compose, or a compatible one
COMPOSE ?= $(or $(shell docker compose version > /dev/null 2>&1 && echo docker compose),$(shell command -v podman-compose),$(shell command -v compose-lab),docker compose)

.DEFAULT_GOAL := help
PYTEST := $(BIN)/pytest -q -n 2 --dist loadscope --no-loadscope-reorder --durations 40 --durations-min 10
# the modules with examples in docstrings
EXAMPLES := daybook services spark/daybook_spark plugins benchmarks/*.py tests/hostile_text.py .ci/*.py
.PHONY: help setup setup-s3 demo up down status test test-e2e test-faults test-clusters test-systems lint format bench bench-quick bench-sizing browser \
	compose-up compose-demo compose-down test-compose check test-all

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything in this folder: .venv from the lock, and the jars (a minute; 1 second if nothing changed)
	@$(PYTHON) bootstrap.py

setup-s3: setup ## also install what a warehouse in an S3-compatible bucket needs: one jar of 69 MB
	@$(BIN)/python -m daybook.setup.jars s3

demo: setup ## run a generated day of 20,000 events (or EVENTS=N) through the whole pipeline; starts the stack if it is not up
	@$(BIN)/daybook demo $(if $(EVENTS),--events $(EVENTS))

up: setup ## start Kafka, PostgreSQL, the intake and Airflow; wait until all are healthy
	@$(BIN)/daybook up

down: ## stop the whole stack
	@$(BIN)/daybook down

status: ## show the stack's parts and the published days
	@$(BIN)/daybook status

compose-up: ## the same in containers: create secrets and images, start all, wait until healthy (needs only Docker)
	@$(PYTHON) docker/make_secrets.py docker/secrets
	@$(COMPOSE) up -d --build --wait

compose-demo: compose-up ## run the day of `make demo` in the containers
	@$(COMPOSE) --profile tools run --rm daybook demo
	@echo "Airflow  http://127.0.0.1:$${DAYBOOK_AIRFLOW_PORT:-8080}   intake  http://127.0.0.1:$${DAYBOOK_API_PORT:-5000}"
	@echo "\`make compose-down\` stops the stack; its days remain stored."

compose-down: ## stop the containers; the volumes with Kafka, the lake and the state remain
	@$(COMPOSE) down

lint: setup ## check style, types, SQL, imports between packages, and commit subjects
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary .
	@$(BIN)/sqlfluff lint --disable-progress-bar spark/sql
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/python .ci/commit_subjects.py

bench: setup ## compare every stage with its alternatives; write benchmarks/RESULTS.md (hours; needs ab, and node for one peer)
	@$(BIN)/python -m benchmarks

bench-quick: setup ## check that the benchmarks work, with small sizes and few rounds; no figures (5 minutes)
	@$(BIN)/python -m benchmarks --quick

bench-sizing: setup ## measure what a million events cost each part; rewrite the tables of docs/sizing.md (15 minutes)
	@$(BIN)/python -m benchmarks.sizing

test-faults: setup ## inject every fault of the fault table, each as often as the table states (80 minutes); print the table
	@DAYBOOK_FAULTS=full $(BIN)/pytest -v -n 2 --dist loadscope tests/faults

test-clusters: setup-s3 ## test on real clusters: three Kafka brokers, TLS, users, Spark workers, a bucket, catalogs (20 minutes); print the figures
	@DAYBOOK_CLUSTERS=full $(BIN)/pytest -v tests/clusters

test-e2e: setup browser ## test Airflow's UI in a real browser: the form, backfills of ten days in every way, screenshots for docs/
	@DAYBOOK_E2E=full $(BIN)/pytest -v tests/e2e

test-compose: setup ## test the real Compose stack: a day, a backfill with a killed worker, compared with the embedded stack
	@$(PYTHON) docker/make_secrets.py docker/secrets
	@COMPOSE="$(COMPOSE)" DAYBOOK_COMPOSE=full $(BIN)/pytest -v -s tests/compose

browser: setup ## install a browser for the end-to-end tests if there is no browser
	@$(BIN)/python -m tests.e2e.browser

test-systems: setup ## as root, with debootstrap: run the README's two commands in chroots of Debian 13 and Debian testing (15 minutes)
	@$(BIN)/python -m tests.systems

format: setup ## format Python and SQL
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

check: lint ## run what needs no server: style, types, SQL, imports between packages, unit tests (5 minutes)
	@$(PYTEST) tests/unit $(EXAMPLES)

test: lint browser ## run before each commit: unit tests, Spark tests, a whole day, a backfill and faults on the real stack
	@$(PYTEST) -m "not long"

test-all: test ## run `make test`, then the rest, as CI does; on separate stacks that do not disturb a running one (an hour)
	@$(PYTEST) -m long
