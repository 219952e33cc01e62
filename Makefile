# `make demo` and `make test` set everything up themselves, in .venv.

PYTHON ?= python3
VENV := .venv
# For recipes, so that snakemake finds the command `tfbind`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
SETUP_DONE := $(VENV)/.setup-done

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint results steps screenshots igv

help:
	@echo "make demo    run the whole workflow on a small simulated world (minutes on 2 cores)"
	@echo "make test    run the tests"
	@echo "make lint    check the style of package and workflow"
	@echo "make results train and score all protocols of docs/results.md, and make the page"
	@echo "make steps   train and score the steps of the work in config/human/steps, and make the page"
	@echo "make screenshots  make the README's pictures from the demo's results (needs Chromium)"
	@echo "make igv     fetch the page's igv.js again"
	@echo "make setup   only install everything into $(VENV); another Python: make setup PYTHON=python3.12"

setup: $(SETUP_DONE)

$(SETUP_DONE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("tfbind needs Python 3.11 or later, and $(PYTHON) is %d.%d: give another one, as in make setup PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	snakemake --cores all

# Tests that share a whole run of the workflow stay together (loadgroup); each worker computes on one core.
test: setup
	OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadgroup

# What was run before is not run again. YEAST_ALSO: a further configuration for the yeast protocols, such as
# config/yeast/mirror.yaml.
HUMAN_PROTOCOLS := h1 h2 h3 h4 h1_enformer h1_both h2_motifs h1_in_vitro h3_shorter h3_in_vitro h1_12mb h1_23mb h3_12f h3_24f
YEAST_PROTOCOLS := y1 y2

results: setup
	for name in $(HUMAN_PROTOCOLS); do \
	  snakemake --configfile config/human/$$name.yaml --cores all -- cross_validation || exit 1; \
	done
	for name in $(YEAST_PROTOCOLS); do \
	  snakemake --configfile config/yeast/$$name.yaml $(YEAST_ALSO) --cores all -- cross_validation || exit 1; \
	done
	snakemake --cores 1 --snakefile workflow/results.smk

# Each step is a configuration; their order does not matter.
steps: setup
	for config in config/human/steps/*.yaml; do \
	  snakemake --configfile $$config --cores all -- cross_validation || exit 1; \
	done
	snakemake --cores 1 --snakefile workflow/results.smk

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check workflow
	snakemake --lint

screenshots: setup
	python -m scripts.screenshots results/demo docs

# igv.js is kept in the repository, so that the page needs no network. To take another version: change it here and its
# checksum in igv.sha256.
IGV := 3.8.10
STATIC := tfbind/browser/static

igv:
	work=$$(mktemp -d) && trap 'rm -r "$$work"' EXIT \
	  && npm pack --silent --pack-destination "$$work" igv@$(IGV) && tar -xzf "$$work/igv-$(IGV).tgz" -C "$$work" \
	  && cp "$$work/package/dist/igv.min.js" $(STATIC)/ && cp "$$work/package/LICENSE" $(STATIC)/igv.LICENSE.txt
	cd $(STATIC) && sha256sum --check igv.sha256
