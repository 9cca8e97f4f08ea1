# Everything a developer or a newcomer runs. `make help` lists it.
# Each target makes what it needs: a virtual environment in .venv, the compiled kernels, the data.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find ext -name '*.pyx' -o -name '*.pxd') setup.py pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-check bench-micro soak soak-short sanitize tsan fuzz mutants lint format docs picture debug-test wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "ax-monitor needs Python 3.11 or newer: set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps: the package is built again when a kernel or the build itself has changed.
$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.test $(VENV)/.demo

demo: $(VENV)/.demo ## the main job on real work, with something to look at (half a minute)
	rm -rf .demo
	$(BIN)/ax monitor demo tests/data/logs/*.log

test: $(VENV)/.test ## the test suite (six to eight minutes)
	$(BIN)/python -m pytest -m "not soak" -n auto --dist worksteal $(ARGS)

soak: $(VENV)/.test ## kills, power cuts, failing disks, load: an hour; writes docs/reliability-report.md
	$(BIN)/python -m tests.soak $(ARGS); status=$$?; $(BIN)/python docs/make_reliability.py; exit $$status

soak-short: $(VENV)/.test ## the same in five minutes, with a twelfth of the counts
	$(BIN)/python -m tests.soak --short $(ARGS)

bench: $(VENV)/.dev ## measure, print the tables, write docs/performance.md (less than a quarter of an hour)
	$(BIN)/python -m benchmarks $(ARGS)

bench-check: $(VENV)/.dev ## the same, but write nothing, and fail if a ratio misses its goal
	$(BIN)/python -m benchmarks --check $(ARGS)

bench-micro: $(VENV)/.dev ## single kernels and services beside references, with pytest-benchmark (two minutes)
	@mkdir -p build
	$(BIN)/python -m pytest benchmarks/kernels benchmarks/services --import-mode=prepend -q \
	  --benchmark-quiet --benchmark-json=build/bench-micro.json $(ARGS)

# Kernels of a kind of their own, in build/KIND/lib, beside a copy of the Python code.
build_kind = CC=gcc AX_MONITOR_BUILD=$(1) $(BIN)/python setup.py -q build --build-base build/$(1) \
  --build-lib build/$(1)/lib build_ext -j 4

# The sanitizers' runtimes, as gcc names them; where there are none, gcc gives the name back.
runtime = $(shell gcc -print-file-name=lib$(1).so 2>/dev/null | grep /)
SANITIZED_TESTS := tests/native tests/fuzz tests/faults/test_durability.py tests/faults/test_concurrency.py \
  tests/services/test_workflow_machine.py tests/services/test_tracer_machine.py

ifneq ($(call runtime,asan),)
sanitize: $(VENV)/.dev ## the kernels' tests under AddressSanitizer and UBSan (gcc; a quarter of an hour)
	$(call build_kind,sanitize)
	LD_PRELOAD="$(call runtime,asan) $(call runtime,ubsan)" PYTHONPATH=build/sanitize/lib PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	$(BIN)/python -m pytest -m "not soak" -n auto --timeout=600 --capture=sys -k "not c1_ and not c11_" $(if $(ARGS),$(ARGS),$(SANITIZED_TESTS))
else
sanitize:
	@echo "skipped: the kernels' tests under sanitizers need gcc with libasan"
endif

ifneq ($(call runtime,tsan),)
tsan: $(VENV)/.dev ## threads on one ring under ThreadSanitizer (gcc; a minute)
	$(call build_kind,tsan)
	$(TSAN) --seconds 30
	@! $(TSAN) --seconds 3 --broken >/dev/null 2>&1 || { echo "ThreadSanitizer does not see a broken reader"; exit 1; }
	@echo "nothing found, and a broken reader is"
else
tsan:
	@echo "skipped: the stress test needs gcc with libtsan"
endif
TSAN = LD_PRELOAD=$(call runtime,tsan) PYTHONPATH=build/tsan/lib TSAN_OPTIONS=halt_on_error=1 \
  $(shell command -v setarch >/dev/null && echo setarch -R) $(BIN)/python -m tests.native_stress

fuzz: $(VENV)/.test ## bytes from outside, guided by coverage (seven minutes; ARGS="--seconds 600" for more)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz $(ARGS)

mutants: $(VENV)/.test ## break the library on purpose, and require red tests (ARGS="--kernels" for those)
	$(BIN)/python -m tests.mutants $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy, cython-lint, stubtest, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint ext benchmarks/reference tests/native_stress
	$(BIN)/stubtest ax_monitor._native --allowlist tests/stubtest-allowlist.txt --ignore-missing-stub --ignore-unused-allowlist
	$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff format the Python code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

picture: $(VENV)/.demo ## run the tour and draw it as docs/demo.svg
	$(BIN)/python docs/make_picture.py

docs: $(VENV)/.test ## regenerate what follows from the code: schema.sql, configuration.md, reference/, reliability.md
	$(BIN)/python docs/make_schema.py
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_reliability.py

debug-test: ## the tests on kernels built with checks and without optimisation (.venv-debug)
	AX_MONITOR_BUILD=debug $(MAKE) VENV=.venv-debug test

wheel: $(VENV)/.dev ## sdist, and a wheel built from the sdist's own contents
	$(BIN)/python -m build --outdir dist

clean: ## remove what the targets above made, except your databases
	rm -rf build dist $(VENV) .venv-debug .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info src/*.egg-info
	find src ext benchmarks -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
