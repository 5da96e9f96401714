# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench serve

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## .venv with the exact versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,formats,openvino,tables,ray,dev]'
	touch $@

demo: install  ## draw surfaces with known defects, train on them, show what was found (about 5 minutes)
	$(BIN)/segnet demo --out runs/demo

test: check  ## every test, after the quick checks
	$(BIN)/pytest -n 2 --dist loadfile

check: install  ## the quick checks alone: style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## speed of a training step, the exported model, a folder, the service and a GPU, on this machine
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/folder.py
	$(BIN)/python benchmarks/service.py
	$(BIN)/python benchmarks/gpu.py

MODEL ?= runs/demo/model.onnx

serve: install  ## the service at http://127.0.0.1:8000, with the demo's model or MODEL=…
	@test -f '$(MODEL)' || { echo 'no model at $(MODEL): make one by `make demo`, or name one: make serve MODEL=…' >&2; exit 1; }
	$(BIN)/segnet serve --model '$(MODEL)'
