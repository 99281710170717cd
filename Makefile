# make serve   the environment for serving, then the server          EXTRA=gpu adds torch, for a GPU box
# make test    the environment for development, then the tests
# make check   ruff and mypy           make train   a bundle from the sample corpus
# make bench   figures of this machine make image   the container      make reproduce   the default bundle anew
# make settings   docs/settings.md from the code

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DATA ?= ../shared/data
EXTRA ?=
MADE_OF := pyproject.toml constraints.txt model/native/build.py model/native/lstm.c

.PHONY: serve test check format train bench image reproduce settings dev

serve: $(VENV)/serve$(EXTRA)
	$(BIN)/lembra serve

test: dev
	$(BIN)/python -m pytest

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: dev
	$(BIN)/lembra train --out bundles/sample --force

bench: dev
	$(BIN)/python -m benchmarks.agreement
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.training

# On a CPU with AVX-512: without it torch has no LSTM in bfloat16.
reproduce: dev
	$(BIN)/lembra pretrain $(DATA)/imdb --out encoders/imdb --recipe long --seed 0 --set threads=1 --set pretrain_streams=128 --set precision=bfloat16 --force
	$(BIN)/lembra train $(DATA)/sst2 --out bundles/sentiment-en --encoder encoders/imdb --recipe default --seed 0 --set threads=1 \
		--set precision=bfloat16 --set max_vocabulary=20000 --set logit_adjustment=0 --set keep_texts=false --force

settings: dev
	$(BIN)/python -m training.config > docs/settings.md

image:
	docker build --tag lembra:cpu .

dev: $(VENV)/dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "lembra needs Python 3.11 to 3.13, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# One file marks what an environment holds; it is made anew when what it was made from changes.
$(VENV)/serve: $(MADE_OF) | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/servegpu: $(MADE_OF) | $(VENV)/bin/python
	$(PIP) --editable '.[gpu]'
	touch $@

$(VENV)/dev: $(MADE_OF) | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/serve
