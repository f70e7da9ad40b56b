# Everything happens in .venv; each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How many tests run beside each other: most of them wait most of the time.
JOBS ?= 4

.PHONY: help setup demo test check docs bench bench-quick soak clean

help:
	@echo "make setup   the virtual environment, with serialnet and esptool in it"
	@echo "make demo    flash a simulated board through the network"
	@echo "make test    all tests, against the real programs (installs them, as root)"
	@echo "make check   lint, types, completeness of the public types"
	@echo "make docs    the documentation, in docs/_build/html"
	@echo "make bench   the benchmarks, against the real programs (long); bench-quick: those that guard the speed"
	@echo "make soak    the tests as often as we promise that they pass (long)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# One stamp for each set of packages.
$(VENV)/.setup: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group demo
	@touch $@

$(VENV)/.test $(VENV)/.check $(VENV)/.docs: $(VENV)/.%: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

setup: $(VENV)/.setup

demo: setup
	@$(BIN)/serialnet demo

# Programs that wait a tenth of a second for a board lose to a busy machine now and then: hence another try.
test: $(VENV)/.test
	@tests/install-peers
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup --reruns 2 $(ARGS)

check: $(VENV)/.check $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes serialnet

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning --quiet docs docs/_build/html

bench: $(VENV)/.test
	@tests/install-peers
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/.test
	@tests/install-peers
	$(BIN)/python -m benchmarks --guard $(ARGS)

soak: $(VENV)/.test
	@tests/install-peers
	SERIALNET_SOAK=1 $(BIN)/python -m pytest --timeout 3600 $(ARGS)

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache
