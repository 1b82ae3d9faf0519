# Two commands do everything: `make demo` and `make test`. Each makes its own environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
RUN := log/demo-shepard_metzler_5_parts-32px
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test test-avx2 lint check format clean

demo: .venv/demo  ## train the demo on the CPU, measure it and draw what it learnt
	$(BIN)/gqn train demo --devices 2
	$(BIN)/gqn eval $(RUN) --devices 2
	@echo "look at $(RUN)/predictions.png"

test: .venv/ready  ## the tests, on two cores
	$(BIN)/pytest -n 2

# What depends on the arithmetic of the CPU, on one that is taken for having AVX2 and no bfloat16, as most laptops have.
test-avx2: .venv/ready
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest -n 2 \
	  tests/models tests/runtime/test_devices.py tests/test_bench.py tests/test_objective.py tests/training

lint: .venv/ready  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## all that must be green (the import directions are a test)

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[viewer]'
	touch $@

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[dev]'
	touch $@ .venv/demo
