# Everything happens in a virtual environment of its own; the stamp files in it say what is installed.

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= etc/config.yaml
TESTS ?=
MINUTES ?= 30
SEED ?=

BIN := $(VENV)/bin
CREATED := $(VENV)/.created
DEV := $(VENV)/.installed-dev
TEST := $(VENV)/.installed-test
BENCH := $(VENV)/.installed-bench
REQUIREMENTS := setup.cfg setup.py pyproject.toml
LINTED := scfd scf_log tests twisted setup.py .ci/check_install.py $(wildcard benchmarks examples)

.DEFAULT_GOAL := help
.PHONY: help run test lint schema check-install bench chaos clean

help:
	@echo "make run            run a node with CONFIG=$(CONFIG); ctrl-C ends it"
	@echo "make test           run the tests; TESTS=tests.test_logs for some of them"
	@echo "make lint           check style (ruff), types (mypy) and the direction of imports (import-linter)"
	@echo "make schema         write the JSON Schema of the config again, after a change of its classes"
	@echo "make check-install  install in new environments, three ways, and look that all of it works"
	@echo "make bench          measure, for twenty minutes, and print the figures; see benchmarks/README.rst"
	@echo "make chaos          faults at random for MINUTES=$(MINUTES), twice; counts what was lost"
	@echo "make clean          remove the environment and whatever else was made here"
	@echo
	@echo "PYTHON=$(PYTHON) makes the environment $(VENV)."

# exec: the node takes the place of the shell. So the SIGTERM that make passes on reaches the node,
# and make waits for the node and not for a shell that is gone before it.
run: $(DEV)
	@exec $(BIN)/twistd -n scfd --config $(CONFIG)

test: $(TEST)
	$(BIN)/$(if $(TESTS),trial $(TESTS),python -m tests)

lint: $(TEST)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

# A test compares it with the config's classes.
schema: $(TEST)
	$(BIN)/scfd schema > scfd.schema.json && mv scfd.schema.json scfd/config/

check-install: $(TEST)
	$(BIN)/trial .ci/check_install.py

bench: $(BENCH)
	$(BIN)/python -m benchmarks.reports
	$(BIN)/python -m benchmarks.timers
	$(BIN)/python -m benchmarks.plugin
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.nats

# Without a limit of deliveries, and with the default one.
chaos: $(TEST)
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --max-deliver -1 $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --max-deliver 3 $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) build dist scfd.egg-info _trial_temp* .hypothesis .mypy_cache .ruff_cache
	rm -f twisted/plugins/dropin.cache scfd/plugins/dropin.cache twistd.pid
	find scfd tests twisted -name __pycache__ -prune -exec rm -rf {} +

$(CREATED):
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON): not found; install Python 3.10 or newer, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); scfd needs Python 3.10 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) can't make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making a virtual environment in $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(DEV): $(CREATED) $(REQUIREMENTS)
	@echo "installing scfd and what it needs (about a minute the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The tests run a whole node, so they need what `make run` needs.
$(TEST): $(CREATED) $(REQUIREMENTS)
	@echo "installing scfd, what it needs and what its tests need (about a minute the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,test]'
	@touch $(DEV) $@

$(BENCH): $(TEST)
	@echo "installing what the measurements compare with"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
