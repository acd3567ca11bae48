# `make demo` runs the whole chain on this machine, `make test` the fast tests; both set up what they need.
.DEFAULT_GOAL := help
.PHONY: help setup stages stages-python notebook instructlab demo test e2e e2e-images e2e-cluster cluster cluster-down lint types bench bench-sdg bench-evaluation bench-training bench-launchers bench-gpu gpu mutation mlflow fuzz compile standalone wheel release-check docs lock clean

PYTHON ?= python3
VENV := .venv
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ilab-pipeline
# What the stages run with (torch and the InstructLab libraries, 7 GB) outlives the checkout; one per lock file.
STAGES := $(CACHE)/stages-$(shell sha256sum requirements/stages.txt | cut -c1-12)
# The same in the versions of the images that the pipeline names, as far as their tasks reach.
IMAGE = $(CACHE)/$(1)-$(shell sha256sum requirements/images/$(1).txt | cut -c1-12)
NOTEBOOK := $(call IMAGE,notebook)
INSTRUCTLAB := $(call IMAGE,instructlab)
# The fast tests' environment with mutmut on top.
MUTATION := $(CACHE)/mutation-$(shell sha256sum requirements/mutation.txt | cut -c1-12)
# A real MLflow server, for its tests.
MLFLOW := $(CACHE)/mlflow-$(shell sha256sum requirements/mlflow.txt | cut -c1-12)
export ILAB_PYTHON := $(STAGES)/bin/python
# What one process compiles of kfp or torch is there for the next: the suites start thousands.
unexport PYTHONDONTWRITEBYTECODE

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/ready ## Create .venv with the command `ilab-pipeline`, without torch

stages: $(STAGES)/ready ## Create the environment that the stages run in (7 GB, once)

stages-python: ## Print the interpreter of that environment
	@echo $(ILAB_PYTHON)

notebook: $(NOTEBOOK)/ready ## Create the environment of the light tasks' image (180 MB, once)

instructlab: $(INSTRUCTLAB)/ready ## Create the environment of the InstructLab image (6 GB, once)

demo: setup stages ## Run the complete workflow on this machine
	$(VENV)/bin/ilab-pipeline demo

test: setup notebook ## Run the fast tests
	$(VENV)/bin/python -m pytest -n 2

e2e: setup stages ## Run the smallest demo, and tests on its results
	$(VENV)/bin/python -m pytest tests/e2e -n 2 --dist loadfile

e2e-images: setup instructlab ## Run the demo, SDG, training and evaluation with the libraries of the InstructLab image
	ILAB_PYTHON=$(INSTRUCTLAB)/bin/python TESSDATA_PREFIX=$(INSTRUCTLAB)/share/tessdata $(VENV)/bin/python -m pytest \
	  tests/e2e/test_demo.py tests/e2e/test_sdg.py tests/e2e/test_training.py tests/e2e/test_judging.py \
	  tests/e2e/test_evaluation.py tests/e2e/test_ranks.py -n 2 --dist loadfile

e2e-cluster: setup stages notebook standalone ## Run the tests on the test cluster, started if it is down
	$(VENV)/bin/python -m tests.cluster test

cluster: setup notebook ## Start the test cluster, a real Kubernetes of one node (needs root; 15 minutes the first time)
	@$(VENV)/bin/python -m tests.cluster up

cluster-down: setup ## Stop the test cluster; only its programs stay cached
	@$(VENV)/bin/python -m tests.cluster down

lint: setup ## Check style, and that every supported backend understands pipeline.yaml
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ilab-pipeline lint

types: setup ## Check types
	$(VENV)/bin/mypy

bench: setup ## Measure compile time, YAML and Workflow size, overhead per task
	$(VENV)/bin/python -m tests.bench

bench-sdg: setup stages ## Measure how long SDG takes, compared with the library's generate_data
	$(STAGES)/bin/python -m tests.bench.sdg

bench-evaluation: setup stages ## Measure how long MT-Bench takes, compared with one checkpoint after the other
	$(STAGES)/bin/python -m tests.bench.evaluation

bench-training: setup stages ## Measure how fast training is, compared with bare torchrun and main_ds
	$(STAGES)/bin/python -m tests.bench.training

bench-launchers: setup stages ## Measure what each launcher costs until the first step, on the test cluster
	$(VENV)/bin/python -m tests.bench.launchers

bench-gpu: ## Measure training on this machine's GPUs, with the python that PYTHON names (GPU="--tiny ours …" for its arguments)
	$(PYTHON) -m tests.bench.gpu $(GPU)

gpu: ## Check evaluation and SDG with a real vLLM on this machine's GPU; PYTHON has vLLM and the InstructLab libraries
	HF_HUB_OFFLINE=1 $(PYTHON) -m tests.gpu $(or $(WORK),$(shell mktemp -d))

mutation: $(MUTATION)/ready ## Put faults into the code of PATHS="utils/ir …" (a SAMPLE of 150), and see which the tests notice
	$(MUTATION)/bin/python -m tests.mutation --sample $(or $(SAMPLE),0) --seed $(or $(SEED),1) $(PATHS)

mlflow: setup $(MLFLOW)/ready ## Log the report of a run to a real MLflow server, and read it there
	ILAB_MLFLOW=$(MLFLOW)/bin/mlflow $(VENV)/bin/python -m pytest tests/mlflow

fuzz: setup ## Search longer for foreign text that breaks a parser
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),5000) $(VENV)/bin/python -m pytest tests/fuzz

compile: setup ## Write pipeline.yaml
	$(VENV)/bin/python pipeline.py

standalone: setup ## Pack standalone.py into one file, dist/standalone.py
	$(VENV)/bin/python -m utils.standalone.package

wheel: setup ## Build wheel and sdist, in dist/
	$(VENV)/bin/uv build -q --no-build-isolation --python $(VENV)/bin/python

release-check: setup ## Check what is missing for a release; publish nothing
	$(VENV)/bin/python -m tests.release

docs: setup ## Write the generated pages of docs/
	$(VENV)/bin/ilab-pipeline docs

lock: PIN := $(VENV)/bin/uv pip compile -q --generate-hashes --no-header --no-emit-index-url --python-version 3.11
lock: setup ## Pin the dependencies in pyproject.toml and requirements/*.in again
	$(PIN) pyproject.toml -o requirements/base.txt
	$(PIN) pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(PIN) pyproject.toml requirements/dev.in requirements/mutation.in -c requirements/dev.txt -o requirements/mutation.txt
	@for name in uv mlflow stages images/notebook images/instructlab images/container images/flash-attn; do \
	  $(PIN) requirements/$$name.in -o requirements/$$name.txt || exit 1; done

clean: ## Remove .venv (not the stages' environment, nor past runs)
	rm -rf $(VENV)

$(VENV)/ready: requirements/uv.txt requirements/dev.txt pyproject.toml ilab_pipeline/__init__.py
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python --require-hashes -r requirements/dev.txt
	$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python --no-deps --no-build-isolation -e .
	touch $@

# Python 3.11, as the images have; uv fetches one where there is none.
$(NOTEBOOK)/ready: FILE := requirements/images/notebook.txt
$(INSTRUCTLAB)/ready: FILE := requirements/images/instructlab.txt
$(NOTEBOOK)/ready $(INSTRUCTLAB)/ready: | $(VENV)/ready
	$(VENV)/bin/uv venv -q --clear --python 3.11 $(@D)
	$(VENV)/bin/uv pip sync -q --python $(@D)/bin/python --require-hashes $(FILE)
	touch $@

$(MUTATION)/ready: | $(VENV)/ready
	$(VENV)/bin/uv venv -q --clear --python $(PYTHON) $(@D)
	$(VENV)/bin/uv pip sync -q --python $(@D)/bin/python --require-hashes requirements/mutation.txt
	touch $@

$(MLFLOW)/ready: | $(VENV)/ready
	$(VENV)/bin/uv venv -q --clear --python 3.11 $(@D)
	$(VENV)/bin/uv pip sync -q --python $(@D)/bin/python --require-hashes requirements/mlflow.txt
	touch $@

$(STAGES)/ready: | $(VENV)/ready
	$(VENV)/bin/uv venv -q --clear --python $(PYTHON) $(STAGES)
	$(VENV)/bin/uv pip sync -q --python $(STAGES)/bin/python --require-hashes requirements/stages.txt
	touch $@
