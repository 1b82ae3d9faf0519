# Two commands do everything: `make demo` and `make test`. Each makes its own environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
RUN := log/demo-shepard_metzler_5_parts-32px

.PHONY: demo test check format clean

demo: .venv/ready  ## train the demo on the CPU, measure it and draw what it learnt
	$(BIN)/gqn train demo --devices 2
	$(BIN)/gqn eval $(RUN) --devices 2
	@echo "look at $(RUN)/predictions.png"

test: .venv/ready  ## the tests, on two cores
	$(BIN)/pytest -n 2

check: .venv/ready  ## format, lint, types, tests (the import directions are one of them)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
