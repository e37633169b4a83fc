# `make run` and `make test` need only Python 3.11 and make: they set up .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test acceptance lint lint-js check explore conserve bench-smoke bench-schedule bench-fleet prices format-js console-types dashboards screenshots pictures wheel clean

# make run PORT=9000 takes the ports 9000 and 9001 in place of 8787 and 8788.
PORT ?=

run: $(READY)
	@$(BIN)/sidecar demo --directory .sidecar $(if $(PORT),--listen 127.0.0.1:$(PORT) --admin 127.0.0.1:$(shell expr $(PORT) + 1))

# TESTS names what to run, such as one package or one test; that runs in one process. All tests run in a
# process for each core and three more, as tests also wait, but five at most; WORKERS is their number:
#   make test TESTS=tests/unit/scheduling
#   make test TESTS='tests/e2e/test_failover.py -k cooldown'
#   make test WORKERS=1
TESTS ?=
WORKERS ?= $(if $(TESTS),1,$(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 3, 5))'))

# The tests start Python several hundred times: let it keep its bytecode, whatever the environment has.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY)
	$(BIN)/python -m pytest $(if $(filter-out 0 1,$(WORKERS)),-n $(WORKERS) --dist loadfile) $(TESTS)

# The newest real agents and SDKs, each in front of a scripted vendor; needs npm and the registries.
acceptance: $(READY)
	$(BIN)/python -m pytest -v tests/acceptance

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy bench
	$(BIN)/mypy tools
	$(BIN)/lint-imports

check: lint test

# The console's JavaScript: format, lint and types. Needs npm; nothing of it is shipped.
lint-js: tools/console/node_modules/.ready
	npm --prefix tools/console run --silent check

format-js: tools/console/node_modules/.ready
	npm --prefix tools/console run --silent format

# The types of the admin API for the console: run this after a change of sidecar/admin/api_types.
console-types: $(READY)
	$(BIN)/python tools/console_types.py

tools/console/node_modules/.ready: tools/console/package-lock.json
	npm --prefix tools/console ci --silent --no-fund --no-audit
	@touch $@

# The property tests with new random examples, and more of them; keep each failure with @example.
explore: $(READY)
	$(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=explore

# 10,000 calls and a kill -9, for one process and for three that share limits: the ledgers are compared with the
# vendor's records.
conserve: $(READY)
	$(BIN)/python -m pytest -q -s tests/e2e/test_crash_consistency.py tests/conservation --calls 10000

# Calls per second against a bare proxy; see docs/decisions/0003-speed.md.
bench-smoke: $(READY)
	$(BIN)/python bench/smoke.py --gate

# Days in virtual time, with Sidecar's scheduler, a plain queue and none; and the cost of a lease.
bench-schedule: $(READY)
	$(BIN)/python bench/schedule.py
	$(BIN)/python bench/leases.py

# Two hundred processes that share one account through a real redis-server, in virtual time.
bench-fleet: $(READY)
	$(BIN)/python bench/fleet.py

# Write the price list from the genai-prices pinned in pyproject.toml: raise that, then run this.
prices: $(READY)
	$(BIN)/python tools/pricelist.py

# A picture of every page of the console, for review; needs chromium.
screenshots: $(READY)
	PYTHONPATH=tests/support $(BIN)/python tools/screenshots.py .screenshots

# The pictures of README and docs, of the pages and of `sidecar top` as they are now; needs chromium.
pictures: $(READY)
	PYTHONPATH=tests/support $(BIN)/python tools/pictures.py docs/pictures

# Write the dashboards of Grafana from tools/dashboards.py: change that, then run this.
dashboards: $(READY)
	$(BIN)/python tools/dashboards.py

wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m build

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sidecar needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[br,keyring,shared]' --group dev
	@touch $@

clean:
	rm -rf $(VENV) build dist bench/.build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
