# Everything sets itself up: `make demo` and `make test` work as the first command in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install demo test lint format docs golden train-tiny clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## create .venv and install everything into it

# torch goes first and by itself: its pinned version selects the build that fits the machine. kvpress goes last and
# without its dependencies: it asks for transformers<5.3 and pandas<3, which the scores that are used of it do without.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps kvpress==0.5.5
	@touch $(INSTALLED)

demo: install  ## the whole path on a few rendered clips: ingest, serve, ask, compare
	$(BIN)/videox2l demo

# One thread each: PyTorch's threads wait for one another by spinning, which other processes pay for. What starts no
# cluster runs two files at a time; a second cluster beside the first would leave neither enough of two cores.
FAST := tests/unit tests/golden
test: install  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(FAST)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(FAST:%=--ignore=%)

lint: install  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

golden: install  ## compare with vectors of the reference implementation
	$(BIN)/python -m tests.golden.check tests/golden/cases

.PHONY: tour
tour: install  ## run docs/tour.ipynb and the pictured conversation again
	$(BIN)/python docs/run_tour.py
	$(BIN)/python docs/draw_chat.py

train-tiny: install  ## train the bundled checkpoints again
	$(BIN)/videox2l train-tiny
	$(BIN)/videox2l train-tiny --plain

clean:  ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
