# Every target sets up what it needs first (see scripts/setup.sh) and works from a fresh clone in any folder.
SHELL := /bin/bash
# rustup installs here; a shell that was opened before does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
unexport SECONDS

# How long `make fuzz` runs each target, and `make bench QUICK=1` for a short run.
SECONDS ?= 60
QUICK ?=
PARITY ?=

.PHONY: help demo test build lint fuzz bench parity setup clean

help:
	@echo "make demo    starts the node and a receiving PACS, pushes a chest CT, shows what came back"
	@echo "make test    all checks and tests"
	@echo "make build   the release binary, target/release/overread"
	@echo "make lint    formatting, clippy, documentation"
	@echo "make fuzz    every fuzz target for SECONDS=60 each"
	@echo "make bench   against Orthanc, DCMTK and a Python pipeline (QUICK=1: a short run)"
	@echo "make parity  against PyTorch with torchvision, timm, MONAI, transformers (PARITY=\"--tiny\": the small packages)"
	@echo "make clean   removes what was built; what was downloaded stays in .tools"

setup:
	@scripts/setup.sh

build: setup
	cargo build --release --locked

demo: setup
	@demo/run.sh

test: setup
	@scripts/test.sh

lint: setup
	@scripts/test.sh lint

fuzz: setup
	@scripts/fuzz.sh $(SECONDS)

bench: setup
	@QUICK=$(QUICK) benches/run.sh

parity: setup
	@scripts/parity.sh $(PARITY)

clean:
	rm -rf target fuzz/target out
