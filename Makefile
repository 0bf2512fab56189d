# Everything a fresh machine needs: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help demo test check docs bench golden gpu fake-cuda dist clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/core ## set up the light core, price VGG-16, compare three networks
	$(BIN)/archcost table vgg16
	$(BIN)/archcost compare alexnet googlenet resnet50

test: $(VENV)/dev ## run all tests that this machine can run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

check: $(VENV)/dev ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/dev ## build the docs site into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/dev ## time archcost against its yardsticks, both sides in one run
	$(BIN)/python tests/bench.py

golden: $(VENV)/dev ## write the outputs in the README and the docs anew
	PYTHONPATH=docs $(BIN)/python tests/test_documents.py
	$(BIN)/python tests/test_tour.py

# runs with the Python that holds a CUDA build of PyTorch, not with the environment above
GPU_PYTHON ?= python3
RECORD ?= measurements/gpu.json
# blocks that can grow leave no remainder unsplit, so that what is allocated is what was asked for,
# rounded up to 512 bytes; one variable for PyTorch up to 2.8, the other for later ones
gpu: export PYTORCH_CUDA_ALLOC_CONF = expandable_segments:True
gpu: export PYTORCH_ALLOC_CONF = expandable_segments:True
gpu: ## on a machine with a GPU: run its tests, record the whole catalog, compare with the predicted
	$(GPU_PYTHON) -m pytest -m gpu
	mkdir -p $(dir $(RECORD))
	$(GPU_PYTHON) -m archcost profile --all --device cuda --batch 1,32,256 \
		--dtype float32,bfloat16 --optimizer sgd-momentum,adam --record $(RECORD)
	$(GPU_PYTHON) -m archcost verify --replay $(RECORD)

# a CUDA build of PyTorch makes CUDA tensors without content, also where there is no GPU
CUDA_VENV ?= .venv-cuda
CUDA_TORCH ?= 2.15.0
fake-cuda: $(CUDA_VENV)/ready ## without a GPU: what training keeps on CUDA, all models (6 GB to install)
	OMP_NUM_THREADS=1 $(CUDA_VENV)/bin/python -m pytest tests/test_fake_cuda.py

dist: $(VENV)/dev ## build wheel and sdist into dist/
	$(BIN)/python -m build

clean: ## remove everything that make has made
	rm -rf $(VENV) $(CUDA_VENV) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "archcost needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(CUDA_VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
		torch==$(CUDA_TORCH) pytest --editable .
	@touch $@

$(VENV)/core: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

# torch first and pinned: a bare range would bring a CUDA build of several GB; the reference
# packages without their dependencies, which would replace it
$(VENV)/dev: $(VENV)/core pyproject.toml constraints.txt
	$(PIP) torch numpy
	$(PIP) --editable '.[torch,onnx,pandas,plot,docs,dev]'
	$(PIP) --no-deps torchvision timm pytorchcv torchinfo ptflops thop
	@touch $@
