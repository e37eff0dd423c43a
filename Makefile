# Everything a newcomer types; `make` alone lists it. Works with GNU make 3.81 (macOS) and newer.

.DEFAULT_GOAL := help
.PHONY: help setup compare test slow stock exhaustive fuzz calibrate lint typecheck bench figures doctor steps clean force

PYTHON ?= python3
JUDGEMENTS ?= 3000
CALIBRATE_ARGS ?=
FUZZ_SECONDS ?= 600
JUNIT ?=
VENV = .venv
PARITY = $(VENV)/bin/parity
EXTRAS = hf,media,mlx,ane,onnx,coreml,gguf,report,serve,watch,fast,test,dev,bench
STAMP = $(VENV)/.installed
RUN = $(VENV)/bin/python -m

## PROMPT        compare: the text (default: the CLI's, one token)
## IMAGE         compare: a picture before the text; several with colons between
## AUDIO         compare: a sound before the text; several with colons between
## MODEL         compare: a checkpoint's folder or name (default: the CLI's, the embedded checkpoint)
## ADAPTER       compare: a LoRA adapter's folder, as PEFT saves it, which all parties merge (default: none)
## CANDIDATES    compare: the backends to judge, e.g. mlx,ane (default: mlx)
## DTYPE         compare: the candidates' arithmetic (default: float32)
## SCENARIO      compare: the schedule of chunks (default: the CLI's)
## REPORT        compare: where the report goes (default: the CLI's)
## PYTEST_ARGS   test, slow, stock, exhaustive, fuzz, bench: further arguments of pytest, e.g. '-k tap'
## JUDGEMENTS    calibrate: how many at least (default: 3000); a second start goes on where the first stopped
## CALIBRATE_ARGS  calibrate: further options, e.g. '--markdown docs/calibration.md'
## FUZZ_SECONDS  fuzz: how long (default: 600)
## JUNIT         figures: the report of a run of the tests, which PYTEST_ARGS=--junitxml=FILE writes
## PYTHON        the interpreter that creates .venv, 3.11 or newer (default: python3)
FORWARDED = PROMPT IMAGE AUDIO MODEL ADAPTER CANDIDATES DTYPE SCENARIO REPORT

ifeq ($(origin PARITY_CANDIDATES),undefined)
CANDIDATES ?= mlx
endif
ifeq ($(origin PARITY_DTYPE),undefined)
DTYPE ?= float32
endif

# A prompt is any text, so it never appears in a recipe: it travels in the environment, where the CLI reads it.
# - $(value X), because $(X) would expand each `$` of the text, and would run a `$(shell ...)` in it;
# - unexport, because make would otherwise export its own, expanded copy of a variable of its command line;
# - nothing at all where X is not set: the CLI tells an empty prompt from none.
# One limit: make itself drops the blanks that begin a value on its command line. From the environment they arrive.
define forward
ifneq ($(origin $(1)),undefined)
compare: export PARITY_$(1) = $$(value $(1))
endif
unexport $(1)
endef
$(foreach name,$(FORWARDED),$(eval $(call forward,$(name))))

# Each party is a process of its own: without bytecode on the disk, every one of them compiles all modules anew, which is
# a third of its start. `make clean` removes it.
unexport PYTHONDONTWRITEBYTECODE

# The stamp is stale, whatever its date, where the environment does not run, is too old, or holds another folder's
# parity, as it does after a clone was copied or moved.
RECENT = import sys; sys.exit(sys.version_info < (3, 11))
INTACT = import importlib.util, os; \
	origin = importlib.util.find_spec("parity").origin; \
	print("yes" if os.path.samefile(os.path.dirname(origin), "parity") else "no")
ifneq ($(shell $(VENV)/bin/python -I -c '$(INTACT)' 2>/dev/null),yes)
$(STAMP): force
endif

help: ## list the targets and the variables
	@echo 'Targets:'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'Variables (make TARGET NAME=value, or from the environment):'
	@sed -n 's/^## /  /p' Makefile

setup: $(STAMP) ## create .venv and install into it; does nothing when it is up to date

compare: $(STAMP) ## compare the candidates with the reference, e.g. make compare PROMPT="Hello world"
	@$(PARITY) compare

# The judge's sums are small: threads that wait for each other on busy cores make them up to 30 times slower.
PYTEST = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(RUN) pytest -n auto --dist loadfile

# Each process reads all tests before it chooses, which takes it half a minute: it is given the files that have some.
STOCK = $(shell grep -rl --include='test_*.py' --exclude-dir=vendor --exclude-dir=node_modules 'mark\.stock' tests)

test: $(STAMP) ## run the tests that take seconds each: a few minutes
	@$(PYTEST) -m 'not slow and not stock and not exhaustive' $(PYTEST_ARGS)

slow: $(STAMP) ## run the tests that take more: those of whole models, of planted bugs and of the audit
	@$(PYTEST) -m 'slow and not stock and not exhaustive' $(PYTEST_ARGS)

stock: $(STAMP) ## run the tests of the published geometry: minutes, and 12 GB of memory
	@$(PYTEST) -m 'stock and not exhaustive' $(PYTEST_ARGS) $(STOCK)

exhaustive: $(STAMP) ## run the tests that ask more than every change needs: many minutes, and 12 GB of memory
	@$(PYTEST) -m exhaustive $(PYTEST_ARGS)

fuzz: $(STAMP) ## spoil files that others may have written at random: each is read, or refused in one line; ten minutes
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(RUN) pytest -n auto --dist load $(PYTEST_ARGS) tests/fuzz

calibrate: $(STAMP) ## judge right candidates on drawn inputs: how often is right code accused? Some hours, on two cores
	@$(PARITY) calibrate --judgements $(JUDGEMENTS) $(CALIBRATE_ARGS)

lint: $(STAMP) ## check style and formatting
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

typecheck: $(STAMP) ## check types
	@$(RUN) mypy

# Large pages for all of them, as the worker of ONNX Runtime has them.
bench: $(STAMP) ## run the benchmarks
	@GLIBC_TUNABLES=$${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1} $(RUN) pytest --benchmark-enable --benchmark-only $(PYTEST_ARGS) benchmarks

figures: $(STAMP) ## say how the rooms of the code depend on each other, and what is large or small
	@$(VENV)/bin/python tools/house.py $(JUNIT)

doctor: $(STAMP) ## say what is installed and which backends can run
	@$(PARITY) doctor

steps: $(STAMP) ## list the steps of the contract
	@$(PARITY) steps

clean: ## remove caches and built packages; .venv and reports stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name .venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

# Everything here prints to stderr: the output of `make compare` is the CLI's alone, even on the first run.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@if ! $(VENV)/bin/python -c 'import pip; $(RECENT)' >/dev/null 2>&1; then \
		if ! $(PYTHON) -c '$(RECENT)' 2>/dev/null; then \
			echo "$(PYTHON) is not Python 3.11 or newer; choose one that is: make setup PYTHON=python3.12" >&2; \
			exit 1; \
		fi; \
		$(PYTHON) -m venv --clear $(VENV) >&2; \
	fi
	@echo 'Installing into $(VENV); the first time this takes some minutes and about 6 GB.' >&2
	@$(RUN) pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' >&2
	@touch $@
