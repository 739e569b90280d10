# Thin aliases of the commands in README.md and CONTRIBUTING.md. They need Python >= 3.11 with pip, and make;
# PYTHON=python3.12 names another interpreter.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --no-input install --quiet --no-deps
TEST ?= tests

.PHONY: up test check format openapi bench lock clean

up: $(VENV)/.project  ## Start NeuroGrid on this machine.
	@$(BIN)/neurogrid up

# Tests wait for processes and servers more than they compute, so there may be more of them than cores.
test: $(VENV)/.project  ## Run all tests, or TEST=path of some.
	@$(BIN)/pytest --numprocesses=4 --dist=loadgroup $(TEST)

check: $(VENV)/.project  ## Check format, lint, types and the direction of imports.
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.project  ## Format, and fix what can be fixed.
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

openapi: $(VENV)/.project  ## Write openapi.json and asyncapi.json anew.
	@$(BIN)/neurogrid openapi --output openapi.json
	@$(BIN)/neurogrid asyncapi --output asyncapi.json

bench: $(VENV)/.project  ## Measure; the figures mean something on a quiet machine only.
	@$(BIN)/python -m benchmarks

lock: $(VENV)/.project  ## Resolve pyproject.toml anew into requirements.lock.
	@$(BIN)/uv pip compile pyproject.toml --extra models --extra servers --group weights --group dev \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock

clean:  ## Remove all that make has made.
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov

# The lock is complete, so nothing is resolved, and every file has to have a hash of the lock.
$(VENV)/.locked: requirements.lock
	@test -n "$(PYTHON)" || { echo "NeuroGrid needs Python 3.11 or newer with pip; name one: make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@echo "Installing what requirements.lock names (a minute or two) ..."
	@$(INSTALL) --require-hashes --requirement requirements.lock
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.locked
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@
