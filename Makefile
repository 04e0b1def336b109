PYTHON ?= python3
BIN := .venv/bin
COMPOSE ?= docker compose
INSTALLED := .venv/installed

.PHONY: help run demo drill bench dashboard test check lint type imports audit migrate lock \
	compose up down logs scale loopback clean
.DEFAULT_GOAL := help

help: ## Say what can be made (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED) ## Start the whole system on this machine; Ctrl-C stops it
	@exec $(BIN)/python -m local

demo: $(INSTALLED) ## Show the running system at work
	@$(BIN)/python -m local.demo

drill: $(INSTALLED) ## Break one thing after the other under load, and count the ledger
	@$(BIN)/python -m tests.drill $(FAULTS)

bench: $(INSTALLED) ## Measure this project beside its peers; asks the package index for them, once
	@$(BIN)/python -m bench $(ONLY)

dashboard: $(INSTALLED) ## Write Grafana's dashboard anew from its code
	@$(BIN)/python -m monitoring.grafana.dashboard

# Three at a time where each has its own database, for most of them wait; those that break things or start whole
# systems want the machine alone.
test: $(INSTALLED) ## Run the tests
	@$(BIN)/python -m pytest -q --numprocesses 3 tests/unit tests/integration
	@$(BIN)/python -m pytest -q tests/faults tests/e2e

check: lint type imports test ## Run what the CI runs: lint, type, imports, test

lint: $(INSTALLED) ## Look for faults and for layout that differs from the formatter's
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/hadolint Dockerfile deploy/loopback/Dockerfile

type: $(INSTALLED) ## Check the types
	@$(BIN)/mypy --no-error-summary

imports: $(INSTALLED) ## Check who may import whom
	@$(BIN)/lint-imports --no-logo

audit: $(INSTALLED) ## Look for known weaknesses in what is installed; asks the package index
	@$(BIN)/pip-audit --disable-pip --no-deps -r requirements.lock

migrate: $(INSTALLED) ## Bring the database of DATABASE_URL up to date
	@$(BIN)/python -m shared.migrate

# With the oldest Python that is supported: it needs what newer ones have built in, and the lock is for all.
lock: $(INSTALLED) ## Write requirements.lock anew from pyproject.toml
	@test -x $(BIN)/pip-compile || $(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --generate-hashes --all-extras --no-strip-extras --allow-unsafe --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements.lock pyproject.toml

# Without it docker prints its whole help, which does not say what is missing.
compose:
	@$(COMPOSE) version > /dev/null 2>&1 || { \
		echo "\"$(COMPOSE)\" does not run here: install Docker Compose, or name it: make COMPOSE=docker-compose …" >&2; \
		exit 1; }

up: compose deploy/often.env ## Build the images and start the whole system in containers (docs/containers.md)
	@deploy/make_secrets.sh
	@REVISION=$$(git rev-parse --short HEAD) $(COMPOSE) up --detach --build --wait

down: compose ## Stop the containers; what they stored stays
	@$(COMPOSE) down

logs: compose ## Follow the containers' logs; of one service only: make logs SERVICE=worker-email
	@$(COMPOSE) logs --follow --tail=100 $(SERVICE)

scale: compose ## Run N containers of a service: make scale SERVICE=worker-email N=3
	@$(COMPOSE) scale --no-deps $(SERVICE)=$(N)

loopback: compose $(INSTALLED) ## Try images and docker-compose.yml for real, on an engine without networks or registry
	@COMPOSE="$(COMPOSE)" $(BIN)/python -m deploy.loopback

deploy/often.env:
	@cp deploy/example.env $@

clean: ## Remove what was installed, and the local system with its data
	@test ! -e var/run/system.json || { echo "The system runs: stop it first." >&2; exit 1; }
	@rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@echo "Installing into .venv, once …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@
