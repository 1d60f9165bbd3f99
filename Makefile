# Two commands: `make demo` and `make test`. Both set everything up first; both can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types bench clean

demo: $(READY)
	@$(BIN)/htx-async demo

test: $(READY)
	@$(BIN)/python -m pytest -n auto

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

bench: $(READY)
	@$(BIN)/python -m benchmarks.import_cost
	@$(BIN)/python -m benchmarks.per_call
	@$(BIN)/python -m benchmarks.limit
	@$(BIN)/python -m benchmarks.mass

clean:
	rm -rf $(VENV)

# Where `venv` cannot bring pip along, as on some Debian machines, the outer pip fills it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "htx_async needs Python 3.11 or newer; $(PYTHON) is older or missing." \
			"Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@rm -rf $(VENV)
	@echo "Setting up $(VENV) ..."
	@if $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; then \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-c constraints.txt -e '.[cli,dev]'; \
	else \
		rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) && \
		pip --python $(BIN)/python install --quiet --disable-pip-version-check \
			-c constraints.txt -e '.[cli,dev]'; \
	fi
	@touch $(READY)
