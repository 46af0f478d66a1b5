# `make run` and `make test` need Python >= 3.11 and pip, nothing else.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UNIT_SECONDS ?= 120
TYPED := src $(wildcard operator/ai_assistant_operator)

.PHONY: help run test check generate requirements unit integration chaos bench bench-report clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.standalone ## Start everything on this machine and open for business (PORT, MODEL, AI_ASSISTANT_*)
	@$(if $(MODEL),AI_ASSISTANT_MODEL="$(MODEL)") exec $(BIN)/ai-assistant up

test: $(VENV)/.dev ## All tests that need nothing but this machine
	@bash tests/prerequisites.sh
	$(BIN)/python -m pytest tests/unit tests/integration tests/chaos

check: $(VENV)/.dev ## Lint, format, types, architecture, generated files
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/python -m ai_assistant.reference --check

generate: $(VENV)/.dev ## Write the files that are derived from code
	$(BIN)/python -m ai_assistant.reference

unit integration chaos: $(VENV)/.dev ## One folder of tests
	$(BIN)/python -m pytest tests/$@

bench: $(VENV)/.dev ## Measure this engine beside its rivals; writes docs/benchmarks.* (QUICK=1, BENCH=NAME,..., ROUNDS=N)
	@PYTHONPATH=src:tests $(BIN)/python -m bench run $(if $(QUICK),--quick) $(if $(BENCH),--only "$(BENCH)") $(if $(ROUNDS),--rounds $(ROUNDS))

bench-report: $(VENV)/.dev ## Write docs/benchmarks.md anew from docs/benchmarks.json
	@PYTHONPATH=src:tests $(BIN)/python -m bench report

requirements: $(VENV)/.dev ## Resolve dependencies anew into requirements/*.txt
	bash requirements/compile.sh $(BIN)

clean: ## Remove what make made (not your data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; name one by PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }

# pip checks every file against the hashes; the product itself is installed editable, without a download of its build tool
$(VENV)/.standalone: requirements/standalone.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing dependencies into $(VENV) (about a minute, once)..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/standalone.txt
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.standalone
	@echo "Installing development tools into $(VENV)..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.txt
	@touch $@
