# Two commands: `make demo` and `make test`. Both set everything up first; a second call finds it done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint install system clean

demo: install
	@$(BIN)/python -m napari_segmatch.demo

# One thread each: the tests' networks are tiny, and on a busy machine several threads mostly wait for each other.
# What is compiled is kept, also where the environment says no: many tests start a Python of their own.
test: install
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 bash tests/with_display.sh $(BIN)/python -m pytest -n auto --maxprocesses 4

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

install: $(STAMP)

# Python compiles what it imports, when it does: to compile everything beforehand takes half of the time of this.
$(STAMP): pyproject.toml constraints.txt | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $(STAMP)

# Libraries that a Qt window needs on Linux; nothing to do elsewhere.
system:
	@bash .ci/system-libraries

clean:
	rm -rf $(VENV) build *.egg-info
