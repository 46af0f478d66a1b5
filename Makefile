# `make run` and `make test` need Python >= 3.11 and pip, nothing else.
SHELL := /bin/bash
PYTHON ?= python3
# onnxruntime-gpu takes the place of onnxruntime, so a GPU gets an environment of its own.
ifneq (,$(filter gpu-test,$(MAKECMDGOALS)))
AI_ASSISTANT_DEVICE ?= cuda
endif
CUDA := $(if $(filter cuda%,$(AI_ASSISTANT_DEVICE)),-cuda)
VENV ?= .venv$(CUDA)
BIN := $(VENV)/bin
UNIT_SECONDS ?= 120
# The operator's pydantic is newer than aiogram allows, so it has an environment of its own.
OPERATOR := .venv-operator/bin

.PHONY: help run export test check generate requirements unit integration chaos operator-test cluster chart gpu-test bench bench-report clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.standalone ## Start everything on this machine and open for business (PORT, MODEL, AI_ASSISTANT_*)
	@$(if $(MODEL),AI_ASSISTANT_MODEL="$(MODEL)") exec $(BIN)/ai-assistant up

export: .venv-export/.ready ## Make the environment that exports models which our own graph writer does not know (5 GB)

test: $(VENV)/.dev .venv-operator/.dev ## All tests that need nothing but this machine
	@bash tests/prerequisites.sh
	$(BIN)/python -m pytest tests/unit tests/integration tests/chaos
	$(OPERATOR)/python -m pytest tests/operator

check: $(VENV)/.dev .venv-operator/.dev ## Lint, format, types, architecture, generated files
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy src charts/reference
	$(OPERATOR)/mypy --no-warn-unused-configs operator/ai_assistant_operator
	$(BIN)/lint-imports
	$(OPERATOR)/lint-imports --config operator/pyproject.toml
	$(BIN)/python -m ai_assistant.reference --check
	$(OPERATOR)/python -m ai_assistant_operator.crd --check
	PYTHONPATH=charts $(BIN)/python -m reference --check

generate: $(VENV)/.dev .venv-operator/.dev ## Write the files that are derived from code
	$(BIN)/python -m ai_assistant.reference
	$(OPERATOR)/python -m ai_assistant_operator.crd
	PYTHONPATH=charts $(BIN)/python -m reference

unit integration chaos: $(VENV)/.dev ## One folder of tests
	$(BIN)/python -m pytest tests/$@

chart: $(VENV)/.dev ## Tests of the Helm chart (helm is built from Go modules the first time: some minutes)
	$(BIN)/python -m pytest tests/chart

operator-test: .venv-operator/.dev ## The operator's tests that need nothing
	$(OPERATOR)/python -m pytest tests/operator

cluster: .venv-operator/.dev ## Tests against a real kube-apiserver (built from Go modules the first time: some minutes)
	$(OPERATOR)/python -m pytest tests/cluster

gpu-test: $(VENV)/.standalone ## Check this machine's GPU with the demo model (AI_ASSISTANT_DEVICE=cuda:INDEX)
	TEST_DEVICE=$(AI_ASSISTANT_DEVICE) $(BIN)/python -m pytest -s tests/gpu

bench: $(VENV)/.dev ## Measure this engine beside its rivals; writes docs/benchmarks.* (QUICK=1, BENCH=NAME,..., ROUNDS=N)
	@PYTHONPATH=src:tests $(BIN)/python -m bench run $(if $(QUICK),--quick) $(if $(BENCH),--only "$(BENCH)") $(if $(ROUNDS),--rounds $(ROUNDS))

bench-report: $(VENV)/.dev ## Write docs/benchmarks.md anew from docs/benchmarks.json
	@PYTHONPATH=src:tests $(BIN)/python -m bench report

requirements: $(VENV)/.dev ## Resolve dependencies anew into requirements/*.txt
	bash requirements/compile.sh $(BIN)

clean: ## Remove what make made (not your data)
	rm -rf $(VENV) .venv-export .venv-cuda .venv-operator .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; name one by PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }

# pip checks every file against the hashes; the product itself is installed editable, without a download of its build tool
$(VENV)/.standalone: requirements/standalone$(CUDA).txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing dependencies into $(VENV) (about a minute, once)..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/standalone$(CUDA).txt
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.standalone
	@test -z "$(CUDA)" || { echo "error: the development tools bring onnxruntime, which must not meet onnxruntime-gpu: unset AI_ASSISTANT_DEVICE" >&2; exit 1; }
	@echo "Installing development tools into $(VENV)..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.txt
	@touch $@

.venv-operator/.dev: operator/requirements/dev.txt operator/pyproject.toml | $(VENV)/bin/python
	@echo "Installing the operator and its development tools into .venv-operator..."
	@test -x $(OPERATOR)/python || $(BIN)/python -m venv .venv-operator
	@$(OPERATOR)/python -m pip install --disable-pip-version-check -q --require-hashes -r operator/requirements/dev.txt
	@$(OPERATOR)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e operator
	@touch $@

# Beside the other one, for it needs older versions of what they share; builds find it there.
.venv-export/.ready: requirements/export.txt | $(VENV)/bin/python
	@echo "Installing torch, transformers and optimum into .venv-export (some minutes, once)..."
	@$(BIN)/python -m venv --clear .venv-export
	@.venv-export/bin/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/export.txt
	@touch $@
