# Everything a developer does, from a bare clone. `make` alone lists the targets.
#
#   make test ARGS="-k fanout"      arguments for the tool behind a target
#   make test PYTHON=python3.13     another interpreter (after `make clean`, or with VENV=.venv-3.13)
#
# The first target that needs it makes an environment in .venv from the hashed versions in
# constraints.txt, with uv if that is installed, else with venv and pip. It is made anew when that
# file changes; otherwise nothing is installed twice, and nothing needs the network.

.DEFAULT_GOAL := help
.PHONY: help demo watch dashboard screenshots browser report cluster test test-all lint bench audit fuzz soak mutate lock lowest pythons clean

# Set with := so that no variable of the same name in the shell can move what is cleared and rebuilt.
VENV := .venv
PYTHON ?=
ARGS ?=

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python

# Two targets need uv itself; if it is missing, it comes with the audit tools.
UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
UV := $(BIN)/uv
NEED_UV := $(VENV)/.audit
endif

# Another active environment must not leak into this one.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONHOME PYTHONPATH UV_SYSTEM_PYTHON

# The tests start Python a few hundred times, and compiling every module each time would double
# their duration. So bytecode is kept whatever the shell says, and out of the source tree.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/bytecode

# Modules whose every line and branch is tested, beyond the threshold for the whole.
EXACT := flashback_async/errors.py,flashback_async/bulk/*.py,flashback_async/api/*.py

help: ## list the targets
	@echo 'Targets:'; awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

# ------------------------------------------------------------------------------- the environment

# Prints the path of a Python >= 3.11: $(PYTHON), or the first that is found. The path is that of the
# interpreter itself, not of an environment around it (which may be the one about to be replaced).
FIND_PYTHON = for candidate in $(if $(PYTHON),'$(PYTHON)',python3 python3.14 python3.13 python3.12 python3.11 python); do \
	  "$$candidate" -c 'import sys; assert sys.version_info >= (3, 11); print(sys._base_executable or sys.executable)' \
	    2>/dev/null && break; \
	done

# $(call install,ARGUMENTS): install into the environment, with uv or pip.
install = if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(PY) $(1); else \
	  $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null; \
	  $(PY) -m pip install --quiet --disable-pip-version-check $(1); fi

# Finding Python has left bytecode in $(VENV), and uv replaces no folder that is not an environment.
$(VENV)/.installed: constraints.txt
	@set -e; \
	python="$$($(FIND_PYTHON))" || true; \
	if [ -z "$$python" ]; then \
	  echo "$(if $(PYTHON),$(PYTHON) is not Python 3.11 or later.,No Python 3.11 or later was found.)" \
	    "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
	version="$$("$$python" -c 'import platform; print(platform.python_version())')"; \
	rm -rf $(VENV)/bytecode; \
	if command -v uv >/dev/null 2>&1; then \
	  echo "setup: Python $$version in $(VENV), with uv"; \
	  uv venv --quiet --no-project --clear --python "$$python" $(VENV); \
	else \
	  echo "setup: Python $$version in $(VENV), with pip (takes a minute or so, once)"; \
	  "$$python" -m venv --clear $(VENV) || { \
	    echo "Python's venv module does not work (on Debian and Ubuntu: install python3-venv)." >&2; exit 1; }; \
	fi; \
	$(call install,--require-hashes -r constraints.txt); \
	touch $@

# The project itself, editable. Nothing is fetched: what builds it is in the environment.
$(VENV)/.ready: $(VENV)/.installed pyproject.toml
	@set -e; \
	echo "setup: flashback-async in $(VENV), editable"; \
	$(call install,--no-deps --no-build-isolation --editable .); \
	touch $@

# Tools that only some targets need.
$(VENV)/.audit: $(VENV)/.installed constraints-audit.txt
	@set -e; \
	echo "setup: audit tools in $(VENV)"; \
	$(call install,--require-hashes -r constraints-audit.txt); \
	touch $@

# ---------------------------------------------------------------------------------------- using it

demo: $(VENV)/.ready ## poll 1,000 buckets of a Flashback API that runs on this machine
	@$(BIN)/flashback demo $(ARGS)

watch: $(VENV)/.ready ## watch the buckets of a Flashback API on this machine whose nodes change all the time
	@$(BIN)/flashback demo --watch $(ARGS)

dashboard: $(VENV)/.ready ## show the buckets of a Flashback API on this machine on a page that stays up to date
	@$(BIN)/flashback demo --dashboard $(ARGS)

report: $(VENV)/.ready ## make a report, one HTML file, on 120 buckets of a Flashback API on this machine
	@$(BIN)/flashback demo --report --buckets 120 $(ARGS)

cluster: $(VENV)/.ready ## poll 20,000 buckets through two worker processes of a Dask cluster on this machine
	@$(BIN)/flashback demo --cluster --buckets 20000 $(ARGS)

bench: $(VENV)/.ready ## measure the cost of a call against hand-written aiohttp
	@$(PY) -m benchmarks $(ARGS)

screenshots: $(VENV)/.ready ## take the pictures of the README anew (needs a browser)
	@$(PY) -m docs.screenshots $(ARGS)

# ---------------------------------------------------------------------------------------- testing it

# One worker more than there are cores, because many tests wait for another process or a socket.
WORKERS = $(shell $(PY) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PYTEST = $(PY) -m pytest --numprocesses $(WORKERS) --dist worksteal

test: $(VENV)/.ready ## run the tests but the slow ones, or exactly those that ARGS selects
	@$(if $(ARGS),$(PYTEST) $(ARGS),HYPOTHESIS_PROFILE=quick $(PYTEST) -m 'not slow')

test-all: $(VENV)/.ready ## run every test and require the coverage
	@$(PYTEST) --cov --cov-report term $(ARGS)
	@$(PY) -m coverage report --include '$(EXACT)' --fail-under 100 >$(VENV)/exact.txt || { \
	  cat $(VENV)/exact.txt; echo 'These modules must be covered to 100 %.' >&2; exit 1; }

# Every test without coverage, for other interpreters and dependencies than those of test-all.
.PHONY: test-here
test-here: $(VENV)/.ready
	@$(PYTEST) $(ARGS)

browser: ## install Chromium, in which the pages are tested, on Debian and Ubuntu
	@if command -v chromium >/dev/null; then echo "$$(command -v chromium) is there already"; \
	elif command -v apt-get >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get install -y chromium; else sudo apt-get install -y chromium; fi; \
	else echo 'Install Chromium or Chrome; apt-get, which this would use, is not here.' >&2; exit 1; fi

fuzz: $(VENV)/.ready ## run the property tests with 10,000 examples each
	@HYPOTHESIS_PROFILE=fuzz $(PYTEST) --timeout 0 tests/property $(ARGS)

soak: $(VENV)/.ready ## send a million requests at a server that fails now and then
	@$(PY) -m benchmarks.soak --requests 1000000 $(ARGS)

mutate: $(VENV)/.ready $(VENV)/.audit ## break the core in small ways and see whether a test notices
	@$(BIN)/mutmut run $(ARGS)
	@$(BIN)/mutmut results

# The lowest versions that pyproject.toml allows, in an environment of their own.
lowest: $(NEED_UV) ## run every test on the lowest allowed versions of the dependencies
	@$(MAKE) --no-print-directory lowest-here VENV=.venv-lowest UV='$(UV)'

.PHONY: lowest-here
lowest-here: $(VENV)/.ready
	@echo 'setup: lowest allowed dependencies in $(VENV)'
	@'$(UV)' pip install --quiet --python $(PY) --upgrade --resolution lowest-direct --all-extras --group dev -r pyproject.toml
	@'$(UV)' pip check --quiet --python $(PY)
	@$(PYTEST) $(ARGS)

# Looks for pythonX.Y on the PATH, then asks uv, then in pyenv's folder.
FIND_VERSION = { "python$$version" -c 'import sys; print(sys.executable)' || \
	  uv python find --no-project --no-python-downloads "$$version" || \
	  ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version".*/bin/python; } 2>/dev/null | tail -n 1

pythons: ## run every test on each Python from 3.11 to 3.14 that is installed
	@failed=; summary=; \
	for version in 3.11 3.12 3.13 3.14; do \
	  python="$$($(FIND_VERSION))"; \
	  if [ -z "$$python" ]; then summary="$$summary  $$version: not installed here;"; continue; fi; \
	  echo "== Python $$version"; \
	  if $(MAKE) --no-print-directory test-here VENV=".venv-$$version" PYTHON="$$python"; \
	  then summary="$$summary  $$version: passed;"; \
	  else summary="$$summary  $$version: FAILED;"; failed=yes; fi; \
	done; \
	echo "== Pythons:$$summary"; [ -z "$$failed" ]

# --------------------------------------------------------------------------------------- checking it

lint: $(VENV)/.ready ## check style, types, layers and declared dependencies
	@echo 'lint: ruff';         $(BIN)/ruff check --quiet .
	@echo 'lint: ruff format';  $(BIN)/ruff format --quiet --diff .
	@echo 'lint: mypy';         $(BIN)/mypy --no-error-summary
	@echo 'lint: import-linter'; $(BIN)/lint-imports >$(VENV)/lint.txt 2>&1 || { cat $(VENV)/lint.txt; exit 1; }
	@echo 'lint: deptry';       $(BIN)/deptry . >$(VENV)/lint.txt 2>&1 || { cat $(VENV)/lint.txt; exit 1; }

audit: $(VENV)/.audit ## look for known holes in the dependencies and risky code (needs the network)
	@echo 'audit: bandit';     $(BIN)/bandit --quiet --recursive --configfile pyproject.toml flashback_async
	@echo 'audit: pip-audit';  $(BIN)/pip-audit --progress-spinner off --strict --disable-pip --require-hashes \
	  -r constraints.txt -r constraints-audit.txt

# ------------------------------------------------------------------------------------------ the rest

LOCK = '$(UV)' pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make lock' $(ARGS)

lock: $(NEED_UV) ## lock the dependencies anew (ARGS=--upgrade for the newest ones)
	@$(LOCK) pyproject.toml --all-extras --group dev -o constraints.txt
	@$(LOCK) --group audit --constraints constraints.txt -o constraints-audit.txt

clean: ## remove everything that was generated
	@rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
	  .coverage .coverage.* htmlcov mutants dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
