# `make demo`, `make test`, and what else `make help` tells; each sets up what it needs, and can be
# repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-bench .venv-bench-ccxt
PEERS_READY := $(PEERS:=/.ready)
BENCH := import_cost per_call scale accounts exchange_view fleet distance host guard flat

# A part of the tests: `make test T=tests/cancel`, `make test T="tests/a.py tests/b.py::test_c"`.
T ?=
# Workers: most of them wait, for answers, deadlines and processes. One test, or the tests of one
# file, are over before six have started.
N ?= $(if $(findstring .py,$(T)),0,6)
PYTEST = $(BIN)/python -m pytest -n $(N) --dist worksteal

.PHONY: help demo test long fast soak mutants fmt check lint types contracts wheel pythons audit bench \
	figures docs look clean

help: ## What there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo: $(READY) ## 40 contracts, 200 orders and a few faults on the embedded simulated exchange
	@$(BIN)/htx-async demo

# The order is drawn anew each time; what pytest prints as --randomly-seed brings one back.
# Bytecode is kept, whatever the environment says: a hundred processes would compile the package
# anew. In a fresh clone two processes make it, a half each, before six workers would side by side.
test long fast: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) tests/__pycache__ ## The tests, within 180 s; or all those of T: make test T=tests/cancel
	@$(PYTEST) $(if $(T),$(T),-m "not long")

long: $(READY) tests/__pycache__ ## The other tests: many processes, long runs
	@$(PYTEST) -m long

fast: $(READY) tests/__pycache__ ## The same without the slow ones: no process, no Redis server
	@$(PYTEST) -m "not slow" $(T)

tests/__pycache__: | $(READY)
	@for part in "tests/[a-k]*" "tests/[l-z]*"; do \
		$(BIN)/python -m pytest -q --collect-only $$part > /dev/null & \
	done; wait

soak: $(READY) ## The long runs: the same tests with far more histories, seeds and calls
	@HTX_SOAK=1 $(BIN)/python -m pytest -n 2 tests/calls/test_generation.py tests/cancel \
		tests/cli/test_interrupted.py tests/limits/test_loops.py tests/whole_calls/test_fuzz.py \
		tests/whole_calls/test_histories.py tests/whole_calls/test_soak.py \
		tests/whole_calls/test_two_hosts.py

# Changes the code of the limiter, the retries, the exchange's tables and replies, the scope and the
# judge in one place at a time and looks whether the tests notice; the figures go into
# tests/support/mutants.md. Half an hour on one core; MODULES="htx_async/cancel/judge.py ..." runs
# these alone.
mutants: $(READY) ## Whether the tests notice changes of the code, into tests/support/mutants.md
	@test -x $(BIN)/mutmut || { \
		if $(BIN)/python -m pip --version >/dev/null 2>&1; then PIP="$(BIN)/python -m pip"; \
		else PIP="pip --python $(BIN)/python"; fi; \
		$$PIP install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'; \
	}
	@$(BIN)/python -m tests.support.mutants $(MODULES)
	@$(BIN)/python -m benchmarks.figures

fmt: $(READY) ## Mends the style where ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint types contracts ## Style, types, and which wing knows which

lint: $(READY) ## Style alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## Types alone: mypy, and what pyright knows of all that users can import
	@$(BIN)/mypy
	@$(BIN)/python .ci/verify_types.py

contracts: $(READY) ## Which wing knows which alone: the contracts in pyproject.toml
	@$(BIN)/lint-imports --no-cache

wheel: $(READY) ## The sdist and the wheel, in dist/, once it worked where nothing else is
	@$(BIN)/python .ci/check_wheel.py

pythons: export PYTHONDONTWRITEBYTECODE :=
pythons: $(READY) ## A part of the tests on each Python from 3.11 up, and with the lowest versions
	@$(BIN)/python .ci/pythons.py

# It needs a database on the network, and fails when none can be asked or believed; for that reason
# no part of .ci/run.
audit: .venv-audit/.ready ## Known flaws in the versions of constraints.txt
	@.venv-audit/bin/python .ci/audit.py

.venv-audit/.ready: .ci/audit.txt | $(READY)
	@rm -rf $(@D)
	@$(PYTHON) -m venv --without-pip $(@D)
	@PIP="$(BIN)/python -m pip"; $$PIP --version >/dev/null 2>&1 || PIP=pip; \
	$$PIP --python $(@D)/bin/python install --quiet --disable-pip-version-check -r $<
	@touch $@

# All of them run, whatever becomes of one.
bench: $(READY) $(PEERS_READY) ## Every benchmark, and what was measured into the pages
	@missed=0; \
	$(MAKE) -k --no-print-directory $(BENCH:%=bench-%) || missed=1; \
	$(MAKE) -k --no-print-directory figures || missed=1; \
	exit $$missed

bench-%: $(READY)
	@echo "== benchmarks.$*"
	@$(BIN)/python -m benchmarks.$*

figures: $(READY) ## What was measured last, and what the code says, into pages and pictures
	@$(BIN)/python .ci/wings.py
	@$(BIN)/python .ci/tables.py
	@$(BIN)/python -m benchmarks.figures
	@$(BIN)/python -m benchmarks.time_to_flat.picture
	@if [ -e .venv-bench/.ready ]; then .venv-bench/bin/python -m benchmarks.pictures; fi

# Nothing is asked from the network but what the environment is made of. Built anew each time, since
# a page that did not change is not warned about again.
docs: .venv-docs/.ready ## The pages of docs/ as HTML into docs/_build/html; a warning is an error
	@rm -rf docs/_build
	@.venv-docs/bin/python -m sphinx -W --keep-going -q -d docs/_build/doctrees \
		docs docs/_build/html
	@echo "docs/_build/html/index.html"

look: docs ## The built pages in a browser where there is one: narrow, wide, light, dark
	@$(BIN)/python .ci/look.py

.venv-docs/.ready: docs/constraints.txt constraints.txt pyproject.toml | $(READY)
	@rm -rf $(@D)
	@echo "Setting up $(@D) ..."
	@$(PYTHON) -m venv --without-pip $(@D)
	@PIP="$(BIN)/python -m pip"; $$PIP --version >/dev/null 2>&1 || PIP=pip; \
	$$PIP --python $(@D)/bin/python install --quiet --disable-pip-version-check -c constraints.txt \
		-r docs/constraints.txt -e '.[otel,redis]' pytest pytest-asyncio
	@touch $@

clean: ## Takes away every environment, dist/ and docs/_build/
	rm -rf $(VENV) $(PEERS) .venv-audit .venv-docs .venv-pythons dist docs/_build

# The outer pip fills it, which saves the time of installing another; where there is none that
# can, `venv` brings one along.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "htx_async needs Python 3.11 or newer; $(PYTHON) is older or missing." \
			"Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@rm -rf $(VENV)
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv --without-pip $(VENV)
	@if $(PYTHON) -m pip --python $(BIN)/python --version >/dev/null 2>&1; then \
		PIP="$(PYTHON) -m pip --python $(BIN)/python"; \
	elif pip --python $(BIN)/python --version >/dev/null 2>&1; then \
		PIP="pip --python $(BIN)/python"; \
	else \
		rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && PIP="$(BIN)/python -m pip"; \
	fi; \
	$$PIP install --quiet --disable-pip-version-check -c constraints.txt -e '.[cli,dev]'
	@touch $(READY)

# What others made, for comparison only: it stays out of the environment that the tests run in, and
# where it cannot be had the benchmarks say so. Two versions of ccxt need two environments.
.venv-bench/.ready: benchmarks/constraints.txt
.venv-bench-ccxt/.ready: benchmarks/constraints-ccxt.txt
$(PEERS_READY): | $(READY)
	@rm -rf $(@D)
	@echo "Setting up $(@D) ..."
	@if $(PYTHON) -m venv $(@D) >/dev/null 2>&1; then \
		PIP="$(@D)/bin/python -m pip"; \
	else \
		rm -rf $(@D) && $(PYTHON) -m venv --without-pip $(@D) && \
		PIP="pip --python $(@D)/bin/python"; \
	fi; \
	if $$PIP install --quiet --disable-pip-version-check -r $<; then \
		touch $@; \
	else \
		rm -rf $(@D); \
	fi
