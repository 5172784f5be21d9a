# atalla-mlir: `make help` lists what this file does. Everything runs in a virtual environment of its own.

PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
WORKERS  ?= 2
COUNT    ?= 1000
SEED     ?= 0
FUZZ_SECONDS ?= 60

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# What an install depends on; Python files are read from the tree and need no reinstall.
NATIVE := $(wildcard CMakeLists.txt atalla_mlir/sim/native/* atalla_mlir/sim/native/include/* atalla_mlir/codegen/native/*)

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench docs docs-check format fuzz clean

help: ## list the targets and variables
	@echo 'targets:'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14
	@echo 'variables:'
	@echo '  PYTHON      Python 3.11 or newer that makes the environment ($(PYTHON))'
	@echo '  VENV        where the environment lives ($(VENV))'
	@echo '  PIP_ARGS    more arguments for pip, for example to choose a CPU-only torch:'
	@echo '              make install PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"'
	@echo '  WORKERS     test processes ($(WORKERS))'
	@echo '  COUNT, SEED packet programs that `make fuzz` runs on both engines ($(COUNT)), and the first seed ($(SEED))'
	@echo '  FUZZ_SECONDS how long `make fuzz` verifies random models after that ($(FUZZ_SECONDS))'

install: $(STAMP) ## make the environment and install everything, pinned

$(STAMP): pyproject.toml $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable '.[test]'
	@$(BIN)/python -c 'from importlib.resources import files; import sys; \
	  found = any((files("atalla_mlir") / "_lib").iterdir()) if (files("atalla_mlir") / "_lib").is_dir() else False; \
	  found or print("the native parts were not built (is there a C++ compiler?); all runs in Python, slower and with the same results")'
	@touch $@

demo: $(STAMP) ## compile, run and verify basic, mlp and attention on the simulator
	$(BIN)/python examples/demo.py

test: $(STAMP) ## run all tests
	$(BIN)/python -m pytest -q -n $(WORKERS)

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP) ## measure cycles and speed; BENCH="gemm_ softmax_" chooses rows, NETWORKS="resnet18" or all adds networks
	$(BIN)/python -m bench.run $(BENCH)
	$(if $(NETWORKS),$(BIN)/python -m bench.networks $(filter-out all,$(NETWORKS)))

docs: $(STAMP) ## regenerate the generated pages of docs/
	$(BIN)/python docs/generate.py

docs-check: $(STAMP) ## fail when a generated page is out of date
	$(BIN)/python docs/generate.py --check

format: $(STAMP) ## format the sources
	$(BIN)/ruff check --fix --select I,F401 .
	$(BIN)/ruff format .

fuzz: $(STAMP) ## look for differences between engines and for compiler errors on random programs
	$(BIN)/python -m atalla_mlir.testing.fuzz --count $(COUNT) --seed $(SEED) --workers $(WORKERS)
	$(BIN)/python -m atalla_mlir.testing.fuzz --seconds $(FUZZ_SECONDS)

clean: ## remove what was built, the environment included
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
