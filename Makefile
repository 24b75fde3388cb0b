# make setup | demo | test | lint | bench | bench-gpu | soak | wheel | clean      (PYTHON=... picks the interpreter)
VENV ?= .venv
PYTHON ?=
PIP_ARGS ?=
TEST_ARGS ?= -n 2 --dist loadfile
BENCH_ARGS ?= --compare
BENCH_GPU_ARGS ?=
SOAK_ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.endostream-ready
KERNELS := $(wildcard endostream/engines/kernels/native/*)

.PHONY: help setup demo test lint format bench bench-gpu soak wheel clean

help:
	@echo "make setup   the environment in $(VENV), and Qt's system libraries"
	@echo "make demo    the sample procedure, in a window or headless"
	@echo "make test    the tests        make lint    ruff and mypy        make format  ruff format"
	@echo "make bench   speed on this computer, against plain PyTorch"
	@echo "make bench-gpu  the demands on an NVIDIA GPU, checked"
	@echo "make soak    an hour of live faults: every fault, over this computer's own network"
	@echo "make wheel   a wheel and a source archive in dist/"
	@echo "make clean   everything that was built; not the environment"

setup: $(READY)

$(READY): pyproject.toml setup.py constraints.txt scripts/setup.sh scripts/system_libraries.py $(KERNELS)
	@PYTHON="$(PYTHON)" PIP_ARGS="$(PIP_ARGS)" sh scripts/setup.sh "$(VENV)"
	@touch $@

demo: setup
	@$(BIN)/endostream demo

test: setup
	@$(BIN)/python -m pytest -q $(TEST_ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@$(BIN)/endostream bench $(BENCH_ARGS)

bench-gpu: setup
	@$(BIN)/endostream bench --gpu $(BENCH_GPU_ARGS)

soak: setup
	@$(BIN)/python tests/rig/soak.py $(SOAK_ARGS)

wheel: setup
	@rm -rf build dist
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@rm -rf build
	@ls dist

clean:
	@rm -rf build dist *.egg-info results .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
