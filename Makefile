# Every target sets up what it needs: uv, Python 3.12, the locked environment in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

EXTRA ?= cpu#    cpu or gpu: which ONNX Runtime; add more with EXTRA="gpu isaaclab"
ARGS ?=#         further arguments of the command that a target runs

UV := $(or $(shell command -v uv),.tools/bin/uv)
RUN = $(UV) run --no-sync

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: setup ## a walking student from the shipped teachers, evaluation, ONNX, a closed loop; ARGS=--from-scratch: all four steps
	@$(RUN) protege pipeline --preset demo $(ARGS)

.PHONY: test
test: setup ## all tests
	@$(RUN) pytest $(ARGS)

.PHONY: check
check: setup ## what CI runs: format, lint, types, import arrows, tests
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) pyright
	@$(RUN) lint-imports
	@$(RUN) pytest $(ARGS)

.PHONY: format
format: setup ## write the format and the lint fixes that ruff knows
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

.PHONY: bench
bench: setup ## simulation rate against bare MuJoCo, model sizes, runtime latency
	@OMP_WAIT_POLICY=passive $(RUN) python scripts/bench.py $(ARGS)

.PHONY: clean
clean: ## remove environments, caches and built wheels; results/ stays
	rm -rf .venv .tools dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find packages tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup
setup: $(filter .tools/%,$(UV)) ## uv, Python 3.12 and the environment, as far as they are missing
	@$(UV) python find 3.12 &> /dev/null || $(UV) python install 3.12 &> /dev/null || { \
	  echo "Python 3.12 is neither installed nor downloadable here. Install it, so that \`python3.12 --version\` works." >&2; exit 2; }
	@$(UV) sync $(if $(wildcard .venv),--quiet) $(addprefix --extra ,$(EXTRA))

.tools/bin/uv:
	@echo "uv is not installed: putting it into .tools"
	@{ python3 -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"; } || { \
	  rm -rf .tools; \
	  echo "uv could not be installed into .tools. Install it (docs.astral.sh/uv), or python3-venv and a network." >&2; exit 2; }
