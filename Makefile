# Every target makes what it needs in .venv, and nothing outside of it.
# PYTHON chooses the interpreter, PORT the demo's port; ARGS goes to pytest, to the conformance suite, or to the fault run.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; \
	done)
PORT ?= 8000
# Most tests of servers wait, so that four at a time fit two cores. A file's tests stay together: they share servers.
# They come in the order of their names, tests/acceptance first: what takes long is not left for the end.
PYTEST := python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test coverage test-matrix test-3.12 test-3.13 lint format docs bench conformance faults clean

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: .venv/.demo ## Serve the demo project on http://127.0.0.1:8000 (PORT= overrides)
	@exec $(BIN)/python manage.py demo --port $(PORT)

test: .venv/.dev ## Run all tests (ARGS= for pytest)
	$(BIN)/$(PYTEST) $(ARGS)

coverage: .venv/.dev ## Run all tests with branch coverage, which takes longer
	$(BIN)/$(PYTEST) --cov --cov-report=term $(ARGS)

test-matrix: test-3.12 test-3.13 ## Run the tests that start no servers and take no minutes on newer versions of Python and Django

lint: .venv/.dev ## Check style, types and the layers of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.dev ## Write the pages of the reference from the code
	$(BIN)/python docs/generate.py

bench: .venv/.dev ## Measure (QUICK=1 for a short run)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

conformance: .venv/.dev ## Run the official conformance suite (ARGS="--server uvicorn --shell view" for a part)
	$(BIN)/python -m tests.conformance $(ARGS)

faults: .venv/.dev ## Harm servers while clients use them, and check the promises (N=10000 for a long run; ARGS="--seed 7")
	$(BIN)/python -m tests.faults $(if $(N),--faults $(N)) $(ARGS)

clean: ## Remove the environment and caches; the demo's data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist

# A stamp per set of packages: installed again when pyproject.toml changed, not otherwise.

.venv/.demo .venv/.dev: .venv/.%: .venv/pyvenv.cfg pyproject.toml
	@echo "Installing into .venv; this takes a minute"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Python and the Django that it is tested with; Python 3.11 with Django 5.2 is what make test does.

test-3.12: DJANGO := 6.0
test-3.13: DJANGO := 6.1

test-3.12 test-3.13: test-%:
	@python=$$(for python in python$* "$$HOME"/.pyenv/versions/$*.*/bin/python; do \
		$$python -c "" 2>/dev/null && echo $$python && break; done); \
	if [ -z "$$python" ]; then echo "Python $* is not here: skipped"; exit 0; fi; \
	set -ex; \
	test -e .venv/$*/pyvenv.cfg || $$python -m venv .venv/$*; \
	.venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' 'django~=$(DJANGO).0'; \
	.venv/$*/bin/$(PYTEST) -m "not acceptance and not long" $(ARGS)
