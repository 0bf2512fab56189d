# Everything a fresh machine needs: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help demo test prove check docs bench golden verified atlas counters pictures gpu replay fake-cuda dist clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/core ## set up the light core, price VGG-16, compare three networks
	$(BIN)/archcost table vgg16
	$(BIN)/archcost compare alexnet googlenet resnet50

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --count-skips --durations 20
test: $(VENV)/dev ## run the tests, whole-catalog proofs on a model of each family
	$(PYTEST) -m "not slow"

prove: $(VENV)/dev ## run what `make test` leaves out: the proofs on every other model, random networks
	$(PYTEST) -m slow

check: $(VENV)/dev ## lint, format, types and prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_prose.py

docs: $(VENV)/dev ## build the docs site into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/dev ## time archcost against its yardsticks, both sides in one run
	$(BIN)/python tests/bench.py

golden: $(VENV)/dev ## write the outputs in the README and the docs anew
	PYTHONPATH=docs $(BIN)/python tests/test_documents.py
	$(BIN)/python tests/test_tour.py

verified: $(VENV)/dev ## run every check over the whole catalog and write docs/verified.md
	mkdir -p build
	$(BIN)/python -m archcost verify --all --against torchvision,timm,pytorchcv --format json --output build/verified.json
	$(BIN)/python tests/verified.py build/verified.json

atlas: $(VENV)/dev ## read every model of timm and torchvision, write docs/atlas.md (hours; SAMPLE=40 for a part)
	$(BIN)/python tests/atlas.py $(if $(SAMPLE),--sample $(SAMPLE))

# tools too heavy for the tests: calflops needs transformers, which its wheel does not declare;
# ptflops 0.7 stands before 0.7.5 on the path
COUNTERS_VENV ?= .venv-counters
COUNTERS := tests/recorded/record_counters.py
counters: $(COUNTERS_VENV)/ready ## record what every counting tool counts of every op by itself
	OMP_NUM_THREADS=1 PYTHONPATH=. $(COUNTERS_VENV)/bin/python $(COUNTERS) --ops
	OMP_NUM_THREADS=1 PYTHONPATH=$(COUNTERS_VENV)/old:. $(COUNTERS_VENV)/bin/python $(COUNTERS) --ops --tools ptflops

PLOT := $(BIN)/archcost plot
SHOWN := alexnet_torchvision vgg16 vgg19 googlenet_torchvision resnet18 resnet50 resnet152 densenet121 \
	squeezenet1_1 mobilenet_v2 mobilenet_v3_large efficientnet_b0 efficientnet_b3 convnext_tiny
IMAGES := docs/images
CHROMIUM ?= chromium
pictures: $(VENV)/dev ## draw the pictures of the README and the docs anew (the page with Chromium)
	mkdir -p $(IMAGES)
	$(PLOT) layers alexnet vgg16 --dpi 110 -o $(IMAGES)/layers.png
	$(PLOT) scatter $(SHOWN) --dpi 110 -o $(IMAGES)/scatter.png
	$(PLOT) timeline --dpi 110 -o $(IMAGES)/timeline.png
	$(PLOT) receptive alexnet vgg16 googlenet resnet50 mobilenet_v2 --dpi 110 -o $(IMAGES)/receptive.png
	$(PLOT) memory resnet50 --batch 32 --dpi 110 -o $(IMAGES)/memory.png
	$(PLOT) roofline resnet50 --gpu h100 --batch 32 --dpi 110 -o $(IMAGES)/roofline.png
	$(PLOT) graph resnet18 --dpi 110 -o $(IMAGES)/graph.png
	$(BIN)/archcost report resnet18 mobilenet_v2 efficientnet_b0 -o $(IMAGES)/report.html
	$(CHROMIUM) --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
		--disable-background-networking --disable-component-update --disable-sync \
		--hide-scrollbars --user-data-dir=$$(mktemp -d) --window-size=1280,900 \
		--screenshot=$(IMAGES)/report.png file://$(CURDIR)/$(IMAGES)/report.html
	rm $(IMAGES)/report.html

# runs with the Python that holds a CUDA build of PyTorch, not with the environment above; where
# a GPU is lent for minutes only, call it again with the record of the last call in its place
GPU_PYTHON ?= python3
GPU_SECONDS ?= 300
GPU_CODE_SECONDS ?= 120
GPU_MODELS ?= --all
# three that a spec describes too, and networks that nobody wrote a spec for; last, as it needs timm and torchvision
GPU_CODE ?= $(addprefix torchvision:,resnet50 vit_b_16 maxvit_t) $(addprefix timm:,convnext_tiny \
	mobilenetv4_conv_small fastvit_t8 repvit_m0_9 hgnetv2_b0 caformer_s18 mixer_b16_224 \
	coatnet_0_rw_224 beit_base_patch16_224 tiny_vit_5m_224 levit_128 dla34 hrnet_w18_small) --input 3x224x224
GPU_SETTINGS ?= --batch 32,256,1 --dtype float32,bfloat16 --optimizer sgd-momentum,adam
RECORD ?= measurements/gpu.json
# blocks that can grow leave no remainder unsplit, so that what is allocated is what was asked for,
# rounded up to 512 bytes; one variable for PyTorch up to 2.8, the other for later ones
gpu: export PYTORCH_CUDA_ALLOC_CONF = expandable_segments:True
gpu: export PYTORCH_ALLOC_CONF = expandable_segments:True
gpu: PROFILE = $(GPU_PYTHON) -m archcost profile $(GPU_SETTINGS) --device cuda --record $(RECORD) --resume
gpu: ## with a GPU: measure for GPU_SECONDS, continuing RECORD if it is there; run the GPU's tests
	mkdir -p $(dir $(RECORD))
	$(PROFILE) $(GPU_MODELS) --time-limit $(GPU_SECONDS) --output $(basename $(RECORD)).txt
	$(GPU_PYTHON) -m pytest -m gpu tests/test_profile.py
	$(PROFILE) $(GPU_CODE) --time-limit $(GPU_CODE_SECONDS) --output $(basename $(RECORD)).txt

replay: ## anywhere: hold what is predicted against the record of `make gpu`
	$(GPU_PYTHON) -m archcost verify --replay $(RECORD)

# a CUDA build of PyTorch makes CUDA tensors without content, also where there is no GPU
CUDA_VENV ?= .venv-cuda
CUDA_TORCH ?= 2.15.0
fake-cuda: $(CUDA_VENV)/ready ## without a GPU: what training keeps on CUDA, all models (6 GB to install)
	OMP_NUM_THREADS=1 $(CUDA_VENV)/bin/python -m pytest tests/test_fake_cuda.py

dist: $(VENV)/dev ## build wheel and sdist into dist/
	$(BIN)/python -m build

clean: ## remove everything that make has made
	rm -rf $(VENV) $(CUDA_VENV) $(COUNTERS_VENV) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "archcost needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(CUDA_VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
		torch==$(CUDA_TORCH) pytest --editable .
	@touch $@

# what `make test` has, by a path file, and the tools that it does not install
$(COUNTERS_VENV)/ready: $(VENV)/dev
	$(PYTHON) -m venv $(COUNTERS_VENV)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(COUNTERS_VENV)/dev.pth
	mv $(COUNTERS_VENV)/dev.pth $$($(COUNTERS_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	$(COUNTERS_VENV)/bin/python -m pip install --quiet transformers einops hjson msgpack ninja py-cpuinfo
	DS_BUILD_OPS=0 $(COUNTERS_VENV)/bin/python -m pip install --quiet --no-deps \
		accelerate calflops==0.3.2 torchstat==0.0.7 deepspeed==0.19.8
	$(COUNTERS_VENV)/bin/python -m pip install --quiet --no-deps --target $(COUNTERS_VENV)/old ptflops==0.7
	@touch $@

$(VENV)/core: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

# torch first and pinned: a bare range would bring a CUDA build of several GB; the reference
# packages without their dependencies, which would replace it
$(VENV)/dev: $(VENV)/core pyproject.toml constraints.txt
	$(PIP) torch numpy
	$(PIP) --editable '.[torch,onnx,pandas,plot,excel,parquet,dask,docs,dev]'
	$(PIP) --no-deps torchvision timm pytorchcv torchinfo ptflops thop
	@touch $@
