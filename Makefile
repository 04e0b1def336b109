PYTHON ?= python3
BIN := .venv/bin
COMPOSE ?= docker compose
# One stamp for what running needs, one for everything. Both sets share .venv.
RUNNABLE := .venv/installed-run
INSTALLED := .venv/installed
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r
INSTALL_CLIENT := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-index --no-deps \
	--no-build-isolation --editable clients/python
RUN_GROUPS := dependencies build-system api worker scheduler cli local

.PHONY: help install run demo drill incidents bench rules dashboard test test-quick test-slow test-platform check \
	check-all lint type imports audit sbom migrate lock compose up down logs scale loopback clean
.DEFAULT_GOAL := help
# The tests start hundreds of processes. Without stored bytecode, each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

help: ## List the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## Install into .venv what tests and checks need

run: $(RUNNABLE) ## Start the whole system on this machine; Ctrl-C stops it
	@exec $(BIN)/python -m local

demo: $(RUNNABLE) ## Submit a mix of tasks to the running system and show their progress
	@$(BIN)/python -m local.demo

drill: $(INSTALLED) ## Break one part after another under load, then check that no task was lost
	@$(BIN)/python -m tests.drill $(FAULTS)

incidents: $(INSTALLED) ## Cause incidents, and compare what an operator hears of each; three hours
	@$(BIN)/python -m tests.incidents $(INCIDENTS)

bench: $(INSTALLED) ## Compare throughput with other task queues; installs them on first use
	@$(BIN)/python -m bench $(ONLY)

rules: $(INSTALLED) ## Write the rules of objectives from the contracts
	@$(BIN)/python -m monitoring.prometheus.objectives

dashboard: $(INSTALLED) ## Regenerate the Grafana dashboard from its code
	@$(BIN)/python -m monitoring.grafana.dashboard

test: test-quick test-slow ## Run all tests

# Most tests wait for I/O, so five processes suit two cores. One that is done takes tests from the others.
test-quick: $(INSTALLED) ## Run the unit and integration tests
	@$(BIN)/python -m pytest -q --numprocesses 5 --dist worksteal tests/unit tests/integration

# These tests break servers or start whole systems, and mostly wait for them, so three run at a time. Their
# time limits assume an otherwise idle machine: they run after the quick ones, also under `make -j`.
test-slow: $(INSTALLED) | test-quick ## Run the fault and end-to-end tests, after the quick ones
	@$(BIN)/python -m pytest -q --numprocesses 3 --dist worksteal tests/faults tests/e2e

test-platform: $(INSTALLED) ## Run the unit and integration tests with no application installed
	@OFTEN_APPLICATIONS= $(BIN)/python -m pytest -q --numprocesses 5 --dist worksteal tests/unit tests/integration

check: lint type imports test-quick ## Run what a change needs before review: lint, types, imports, quick tests

check-all: check test-slow ## Run everything that CI runs: `make check`, fault and end-to-end tests, the audit
	@$(BIN)/python -m tools.audit --or-leave-out

lint: $(INSTALLED) ## Check code and Dockerfiles for faults and formatting
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/hadolint Dockerfile deploy/loopback/Dockerfile

type: $(INSTALLED) ## Check the types
	@$(BIN)/mypy --no-error-summary

imports: $(INSTALLED) ## Check which package may import which
	@$(BIN)/lint-imports --no-logo

audit: $(INSTALLED) ## Check the locked packages for known vulnerabilities; asks the package index
	@$(BIN)/python -m tools.audit

sbom: $(INSTALLED) ## Write what each image installs to var/sbom, as CycloneDX
	@mkdir -p var/sbom
	@for image in api worker scheduler; do \
		$(BIN)/python -m deploy.sbom dependencies $$image > var/sbom/$$image.json || exit 1; done
	@$(BIN)/python -m deploy.sbom dependencies > var/sbom/migrate.json

migrate: $(RUNNABLE) ## Migrate the database that DATABASE_URL names
	@$(BIN)/python -m shared.migrate

# Use the oldest supported Python: it needs packages that newer versions have built in.
lock: $(INSTALLED) ## Update requirements.lock from pyproject.toml
	@test -x $(BIN)/pip-compile || $(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --generate-hashes --all-extras --no-strip-extras --allow-unsafe --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements.lock pyproject.toml

# Without this check, docker prints its whole help text, which does not name the missing part.
compose:
	@$(COMPOSE) version > /dev/null 2>&1 || { \
		echo "\"$(COMPOSE)\" does not run here: install Docker Compose, or name it: make COMPOSE=docker-compose …" >&2; \
		exit 1; }

up: compose deploy/often.env ## Build the images and start the whole system in containers
	@deploy/make_secrets.sh
	@$(COMPOSE) up --detach --wait postgres redis
	@$(COMPOSE) exec -T postgres /docker-entrypoint-initdb.d/roles.sh
	@$(COMPOSE) exec -T redis sh -c 'REDISCLI_AUTH=$$(cat /run/secrets/redis_password) valkey-cli -e acl load' > /dev/null
	@REVISION=$$(git rev-parse --short HEAD) $(COMPOSE) up --detach --build --wait

down: compose ## Stop the containers and keep their data
	@$(COMPOSE) down

logs: compose ## Follow the logs; for one service: make logs SERVICE=worker-email
	@$(COMPOSE) logs --follow --tail=100 $(SERVICE)

scale: compose ## Run N containers of a service: make scale SERVICE=worker-email N=3
	@$(COMPOSE) scale --no-deps $(SERVICE)=$(N)

loopback: compose $(INSTALLED) ## Test the images and docker-compose.yml on an engine without networks or registry
	@COMPOSE="$(COMPOSE)" $(BIN)/python -m deploy.loopback

deploy/often.env:
	@cp deploy/example.env $@

clean: ## Remove .venv, caches and the local system with its data
	@test ! -e var/run/system.json || { echo "The system is running: stop it first." >&2; exit 1; }
	@test ! -L var/postgres || rm -rf "$$(readlink var/postgres)" # `make run` as root may store the data elsewhere
	@rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv

# `make run` and `make demo` install only the part of the lock that they need. Python compiles what is
# really imported on first use; compiling all packages would take 50 MB more. The client is installed from
# clients/python as it is there, with the locked build tool and without an index.
$(RUNNABLE): requirements.lock pyproject.toml clients/python/pyproject.toml deploy/lock.py | .venv/bin/pip
	@echo "Installing what running needs into .venv, once …"
	@$(BIN)/python deploy/lock.py $(RUN_GROUPS) > .venv/run.lock
	@$(INSTALL) .venv/run.lock --no-compile
	@$(INSTALL_CLIENT)
	@touch $@

$(INSTALLED): requirements.lock clients/python/pyproject.toml | .venv/bin/pip
	@echo "Installing everything into .venv, once …"
	@$(INSTALL) requirements.lock
	@$(INSTALL_CLIENT)
	@touch $@ $(RUNNABLE)
