# Every target sets up what it needs: uv, Python 3.12, the locked environment in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

-include .venv/choices.mk # EXTRA and TORCH as they were last
EXTRA ?= cpu#    which ONNX Runtime, cpu or gpu, and what else: EXTRA="cpu mjwarp"
TORCH ?= cuda#   which build of torch; cpu is a fifth of the download
ARGS ?=#         further arguments of the command that a target runs

UV := $(or $(shell command -v uv),.tools/bin/uv)
RUN = $(UV) run --no-sync
WANTED = $(addprefix --extra ,$(EXTRA))
# The tools of development stay where they are once `make test` has brought them.
WITHOUT_TOOLS = $(if $(wildcard .venv/bin/pytest),,--no-dev)

# Where it is set, each process compiles the thousand Python files of torch again, for ten seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: setup ## a walking student from the shipped teachers, evaluation, ONNX, a closed loop; ARGS=--from-scratch: all four steps
	@$(RUN) protege pipeline --preset demo $(ARGS)

.PHONY: test
test: tools ## all tests, a process for each core
	@$(RUN) python scripts/equipment.py
	@$(RUN) pytest -n auto --dist loadfile $(ARGS)

.PHONY: lint
lint: tools ## format, lint, types, import arrows
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) pyright
	@$(RUN) lint-imports

.PHONY: check
check: lint test ## what CI runs: lint and test

.PHONY: format
format: tools ## write the format and the lint fixes that ruff knows
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

.PHONY: bench
bench: tools ## simulation rate against bare MuJoCo, model sizes, runtime latency
	@OMP_WAIT_POLICY=passive $(RUN) python scripts/bench.py $(ARGS)

.PHONY: docs
docs: python ## build the documentation into site/; links and references that lead nowhere are errors
	@$(call install,$(if $(WITHOUT_TOOLS),--no-dev --group docs))
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict $(ARGS)

.PHONY: release
release: tools ## version, commit and tag of a package: PACKAGE=core VERSION=0.2.0; ARGS=--dry-run only checks
	@$(RUN) python scripts/release.py $(or $(PACKAGE),$(error PACKAGE is missing)) $(or $(VERSION),$(error VERSION is missing)) $(ARGS)

.PHONY: clean
clean: ## remove environments, caches and built wheels; results/ stays
	rm -rf .venv .tools dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find packages tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup
setup: python ## the environment without the tools of development; EXTRA="cpu mjwarp", TORCH=cpu
	@$(call install,$(WITHOUT_TOOLS))

.PHONY: tools
tools: setup ## the same with the tools of development
	@$(call install,)

.PHONY: python
python: $(filter .tools/%,$(UV))
	@$(UV) python find 3.12 &> /dev/null || $(UV) python install 3.12 &> /dev/null || { \
	  echo "Python 3.12 is neither installed nor downloadable here. Install it, so that \`python3.12 --version\` works." >&2; exit 2; }

.tools/bin/uv:
	@echo "uv is not installed: putting it into .tools"
	@{ python3 -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9.17"; } || { \
	  rm -rf .tools; \
	  echo "uv could not be installed into .tools. Install it (docs.astral.sh/uv), or python3-venv and a network." >&2; exit 2; }

# Triton, 0.6 GB, compiles networks for a GPU (run.compile): an environment without a GPU's simulator does without it.
WITHOUT_TRITON = $(if $(filter gpu mjwarp isaaclab,$(EXTRA)),,--no-install-package triton)
install_cuda = $(UV) sync $(QUIET) $(WANTED) $(1) $(if $(1),$(WITHOUT_TRITON))
# `uv sync` cannot choose torch's build, `uv pip` can; the index of builds has no dates that exclude-newer could look at.
install_cpu = { ls .venv/lib/python*/site-packages/torch-*+cpu.dist-info &> /dev/null || $(UV) venv --quiet --clear; } && \
  $(UV) export --quiet --no-hashes --prune torch $(WANTED) $(1) | $(UV) pip install $(QUIET) --python .venv \
    --torch-backend cpu --exclude-newer-package torch=false --requirements -
install = $(or $(install_$(TORCH)),$(error TORCH is cuda or cpu, not $(TORCH))) && \
  printf 'EXTRA ?= %s\nTORCH ?= %s\n' '$(EXTRA)' '$(TORCH)' > .venv/choices.mk
QUIET = $(if $(wildcard .venv),--quiet)
