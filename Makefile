PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FUZZ_SECONDS ?= 3600

.PHONY: help demo test test-all fuzz results lint types format clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## Install into .venv and profile Stable Diffusion 3 medium
	$(BIN)/fxprof profile sd3-medium --height 512 --width 512 --steps 30

lint: $(READY)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check types
	$(BIN)/mypy

test: lint types  ## Check style and types, then run the tests that fit into minutes
	$(BIN)/pytest -n 2 -m "not slow"

test-all: lint types  ## The same with the full-size checks
	$(BIN)/pytest -n 2

fuzz: $(READY)  ## Change real files at random for FUZZ_SECONDS (an hour); what fails is kept in fuzz-failures
	$(BIN)/python scripts/fuzz.py --seconds $(FUZZ_SECONDS) --keep fuzz-failures

results: $(READY)  ## Count everything in docs/RESULTS.md and docs/diff.md again; half an hour
	$(BIN)/python scripts/check_published.py
	$(BIN)/python scripts/origin_table.py --write
	$(BIN)/python scripts/models_table.py --write
	$(BIN)/python scripts/diff_pairs.py

format: $(READY)  ## Apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the virtual environment and caches
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
