# Everything is done in .venv; `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How many processes share the tests, a file at a time.
JOBS ?= auto
SOURCES := $(shell find rust python -name '*.rs' -o -name '*.py' -o -name '*.pyi') python/hyrun.data/scripts/hyrun \
           Cargo.toml Cargo.lock pyproject.toml

.PHONY: help demo build test test-rust lint format bench clean

help:
	@echo 'make demo    build the wheel and run a container with two volumes'
	@echo 'make test    all tests (container tests need root; HYRUN_MUST_WORK=1 makes a skip a failure)'
	@echo 'make lint    rustfmt, clippy, ruff, mypy, stubtest'
	@echo 'make format  let rustfmt and ruff rewrite the sources'
	@echo 'make bench   start-up times beside the peers that are installed'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# The wheel as a user gets it, built in release mode and installed into the environment.
$(VENV)/.built: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet .
	touch $@

$(VENV)/.test-tools: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --group test
	touch $@

$(VENV)/.lint-tools: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --group lint --group test
	touch $@

build: $(VENV)/.built

demo: build
	@PATH="$(abspath $(BIN)):$$PATH" sh docs/demo.sh

test: $(VENV)/.built $(VENV)/.test-tools test-rust
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

test-rust:
	cargo test --quiet

lint: $(VENV)/.built $(VENV)/.lint-tools
	cargo fmt --check
	rustfmt --check --edition 2024 rust/init/main.rs
	cargo clippy --quiet --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest hyrun._core

format: $(VENV)/.lint-tools
	cargo fmt
	rustfmt --edition 2024 rust/init/main.rs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: build
	$(BIN)/python bench/startup.py

clean:
	rm -rf $(VENV) target
