# Everything a newcomer needs: `make demo` and `make test`. Both install into .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test chaos check format lint types protos protos-check bench bench-song clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/installed: pyproject.toml byte_path/_md5.c
	@echo "Installing into $(VENV); the first time takes two minutes or so."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/installed  ## Run the main job on embedded defaults, from study to verified download
	$(BIN)/python -m song_score.demo

# Half of the time tests wait for servers and killed processes. A file's tests stay together: they share its servers.
test: $(VENV)/installed  ## Run all tests, two at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

chaos: $(VENV)/installed  ## Transfer files while everything fails, for CHAOS_SECONDS (600)
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(BIN)/python -m pytest -s tests/chaos -k as_long_as_there_is_time

check: format lint types protos-check test  ## Everything that must hold before a commit

format: $(VENV)/installed  ## Complain where the formatter would change something
	$(BIN)/ruff format --check .

lint: $(VENV)/installed  ## Lint Python and protos
	$(BIN)/ruff check .
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

types: $(VENV)/installed  ## Type-check, strictly
	$(BIN)/mypy .

protos: $(VENV)/installed  ## Make the Python stubs anew from the protos
	$(BIN)/buf generate

protos-check: $(VENV)/installed  ## Demand that the committed stubs are what the protos say
	$(BIN)/buf generate --output .cache/protos
	diff -r .cache/protos/protos/gen/python protos/gen/python --exclude=__pycache__

BENCHMARKS := transfer parallel_files small_files s3_peers long_path resources
bench: $(VENV)/installed  ## Measure transfers against md5sum, boto3 and rclone; BENCH_FLAGS=--quick to try it
	set -e; for each in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$each $(BENCH_FLAGS); done

bench-song: $(VENV)/installed  ## Measure Song: submissions, publishing, lists and pages
	$(BIN)/python -m benchmarks.song

clean:  ## Remove what make made
	rm -rf $(VENV) .cache build *.egg-info clients/python/*.egg-info
