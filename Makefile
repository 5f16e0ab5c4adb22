# Thin: each target is a documented command or two, which can be typed by hand as well.
#   make PYTHON=/path/to/python3.12 book     another interpreter for the environment
#   make audit ARGS="--n 5"                   rerun and audit hand ARGS on to the command
PYTHON ?= python3
TABLE  ?= amp_cf/table2
ARGS   ?=

VENV := .venv
BIN  := $(VENV)/bin
# One file that says "installed from these pins": newer than both, nothing is installed again.
INSTALLED := $(VENV)/installed

# The result depends on this folder and not on the user's settings: no other Python path, and the
# caches and profiles of matplotlib, IPython and Jupyter inside the environment (an empty or
# missing HOME is fine).
unexport PYTHONPATH PYTHONHOME
export MPLCONFIGDIR       := $(CURDIR)/$(VENV)/cache/matplotlib
export IPYTHONDIR         := $(CURDIR)/$(VENV)/cache/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/$(VENV)/cache/jupyter
export JUPYTER_DATA_DIR   := $(CURDIR)/$(VENV)/cache/jupyter-data
export PYTHONUNBUFFERED   := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help .venv book test data rerun audit clean
.DEFAULT_GOAL := help

help:  ## print this list
	@sed -n 's/^\([.a-z]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

.venv: $(INSTALLED)  ## make the environment .venv with the exact versions of requirements.lock

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 or newer is needed and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo 'not on this machine'); name another with make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --constraint requirements.lock setuptools
	@# pip says nothing while it unpacks: the loop does, for as long as this shell lives
	@while sleep 10 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do echo "  $(VENV): $$(du -sm $(VENV) | cut -f1) MB"; done & \
	beat=$$!; trap 'kill $$beat' EXIT; trap 'exit 130' INT TERM; \
	echo "installing the versions of requirements.lock"; \
	$(BIN)/pip install --constraint requirements.lock --no-build-isolation --editable '.[baselines,book,test]'
	@echo "building matplotlib's font list"
	@$(BIN)/python -c 'import matplotlib.font_manager'
	@touch $@

# One thread: the checks compare numbers bit by bit, small tensors gain nothing from two, and beside
# other work two wait for each other, so that the live case took ten minutes in place of one.
book test: export OMP_NUM_THREADS := 1

book: $(INSTALLED) data  ## build the book: retrain the live case, render stale pages, make the HTML
	$(BIN)/python -m replication.notebooks --live
	$(BIN)/python -m replication.notebooks
	@# Sphinx does not see changes of the configuration's own files: then all pages are built anew
	@test -z "$$(find _config.yml book/_ext book/_static requirements.lock -newer _build/html/index.html 2>/dev/null)" || rm -rf _build/html _build/.doctrees
	$(BIN)/jupyter-book build book/
	@echo "The book's first page: $(CURDIR)/_build/html/index.html"

test: $(INSTALLED) data  ## run all checks: style, types, the book with warnings as errors, tests, notebooks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m replication.notebooks --check
	$(BIN)/jupyter-book build book/ -W -n --keep-going --all --path-output _build/strict
	$(BIN)/pytest --nbval --nbval-current-env tests book

data: $(INSTALLED)  ## fetch and verify every data set that this machine can have
	$(BIN)/python -m replication data --keep-going

rerun: $(INSTALLED) data  ## run what a table lacks: make rerun TABLE=amp_cf/table2 ARGS="--seeds 5"
	$(BIN)/python -m replication run $(TABLE) $(ARGS)

audit: $(INSTALLED) data  ## rerun stored records picked at random and compare: make audit ARGS="..."
	$(BIN)/python -m replication audit $(ARGS)

clean:  ## remove the built book and caches; .venv, data and records stay
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache *.egg-info data/prepared
	find replication data_scripts book tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
