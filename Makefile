# Two commands: `make demo` and `make test`. Both set everything up first; both can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OTHERS := .venv-bench
OTHERS_READY := $(OTHERS)/.ready

.PHONY: demo test soak mutants lint types bench clean

demo: $(READY)
	@$(BIN)/htx-async demo

test: $(READY)
	@$(BIN)/python -m pytest -n 4 --dist worksteal

# The long runs: the same tests with far more histories, seeds and calls.
soak: $(READY)
	@HTX_SOAK=1 $(BIN)/python -m pytest -n 2 tests/test_histories.py tests/test_soak.py \
		tests/test_fuzz.py tests/test_mass_cancel.py

# Changes the code of the limiter, the retries, the routes and the codes in one place at a time and
# looks whether the tests notice; the figures go into tests/mutants.md. Some ten minutes on one core.
mutants: $(READY)
	@test -x $(BIN)/mutmut || { \
		if $(BIN)/python -m pip --version >/dev/null 2>&1; then PIP="$(BIN)/python -m pip"; \
		else PIP="pip --python $(BIN)/python"; fi; \
		$$PIP install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'; \
	}
	@$(BIN)/python -m tests.mutants

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

bench: $(READY) $(OTHERS_READY)
	@$(BIN)/python -m benchmarks.import_cost
	@$(BIN)/python -m benchmarks.per_call
	@$(BIN)/python -m benchmarks.limit
	@$(BIN)/python -m benchmarks.mass
	@$(BIN)/python -m benchmarks.fleet

clean:
	rm -rf $(VENV) $(OTHERS)

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

# Limiters of others, for comparison only: they stay out of the environment that the tests run in,
# and where one cannot be had the benchmark says so.
$(OTHERS_READY): benchmarks/constraints.txt | $(READY)
	@rm -rf $(OTHERS)
	@echo "Setting up $(OTHERS) ..."
	@if $(PYTHON) -m venv $(OTHERS) >/dev/null 2>&1; then \
		PIP="$(OTHERS)/bin/python -m pip"; \
	else \
		rm -rf $(OTHERS) && $(PYTHON) -m venv --without-pip $(OTHERS) && \
		PIP="pip --python $(OTHERS)/bin/python"; \
	fi; \
	if $$PIP install --quiet --disable-pip-version-check -r benchmarks/constraints.txt; then \
		touch $(OTHERS_READY); \
	else \
		rm -rf $(OTHERS); \
	fi
