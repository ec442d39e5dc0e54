# Each target works as the first command after `git clone`; only git, make and Python >= 3.11 are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ROOMS := core geo io datasets losses metrics
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Packages are compiled at their first import; where this is set, that would be at every import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make setup   install headframe and its tools into .venv"
	@echo "make demo    draw a landscape with a mine, train on it, map it: demo/report.html"
	@echo "make test    lint, types, layers, tests with coverage"
	@echo "make lint    the first three of those"
	@echo "make bench   memory and speed of the map job"
	@echo "make docs    build the site into site/"
	@echo "make clean   remove what was built, not .venv"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11. Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/headframe demo --out demo

lint: setup
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_MMAP_THRESHOLD_=1073741824 $(BIN)/pytest -n 2 --reruns 1 --cov --cov-report=
	@for room in $(ROOMS); do \
	  printf '%-10s' $$room; \
	  $(BIN)/coverage report --include="src/headframe/$$room/*" --format=total --fail-under=90 \
	    || { $(BIN)/coverage report --include="src/headframe/$$room/*" -m; exit 1; }; \
	done

bench: setup
	$(BIN)/python scripts/bench_map.py

docs: setup
	$(BIN)/python scripts/docs_pictures.py
	$(BIN)/python scripts/docs_underground.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

clean:
	rm -rf site demo docs/pictures .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
