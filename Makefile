# Every target makes what it needs from a bare clone: python3 (3.11 or newer) and its venv module.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install -q -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help test check clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# torch first and pinned: a bare requirement would pull gigabytes of CUDA on a machine without a GPU.
$(VENV)/.dev: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "langchain-sea needs Python 3.11 or newer with the venv module: install python3 and python3-venv, or set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) torch
	$(PIP) -e '.[gguf]' --group dev
	@touch $@

test: $(VENV)/.dev  ## the fast suite, sockets off
	$(BIN)/python -m pytest -q -m "not slow"

check: test  ## all that CI runs: the fast suite, lint, types, the slower tests, the built wheel
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m slow || test $$? -eq 5
	$(BIN)/python -m build --wheel -o $(VENV)/dist . >/dev/null

clean:  ## remove what these targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
