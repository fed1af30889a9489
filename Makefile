# Needs python3 (3.11 or newer) with its venv module, and make. `make help` lists the targets.

PYTHON ?= python3
VENV   ?= .venv
PYTEST ?= $(RUN) -m pytest
ARGS   ?=

RUN    := $(VENV)/bin/python
RECORD := src/moorings/_build_record.json
PXD    := $(shell find src -name '*.pxd')
HOT    := $(PXD) $(wildcard $(PXD:.pxd=.py)) $(shell find src -name '*.pyx' -o -path '*/native/*.[ch]')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-pure lab check lint types docs compliance fuzz bench bench-echo native build clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## build what can be built and run the echo demonstration
	@$(RUN) -m moorings demo $(ARGS)

test: build ## run the test suite, compiled where a compiler is there (ARGS="-k name")
	$(PYTEST) -m "not static" $(ARGS)

test-pure: $(VENV)/.test ## run the test suite in pure Python
	MOORINGS_NATIVE=off $(PYTEST) -m "not static and not install" $(ARGS)

lab: $(VENV)/.test ## run the tests of kernel features, tests/lab, under Debian's kernel in a virtual machine
	$(RUN) tools/lab.py -- $(abspath $(RUN)) -m pytest tests/lab -k "not uvloop" -p no:cacheprovider $(ARGS)

check: $(VENV)/.lint $(VENV)/.docs ## run the suite in pure Python and all static checks (the site, too), with one summary
	MOORINGS_NATIVE=off $(PYTEST) -m "not install" $(ARGS)

types: $(VENV)/.lint ## run mypy and pyright
	$(RUN) -m mypy
	$(RUN) -m pyright --project pyproject.toml --pythonpath $(RUN)

docs: $(VENV)/.docs ## build the site of the documentation into build/site, warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo 'build/site/index.html'

lint: $(VENV)/.lint ## run ruff and import-linter
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(VENV)/bin/lint-imports

compliance: build ## run the cases of the Autobahn list with all of their messages, and 1 GiB through a WebSocket
	MOORINGS_COMPLIANCE=all $(PYTEST) --timeout=900 tests/protocols tests/engine/test_web_socket_compliance.py tests/sockets/test_stream_web_socket_bulk.py $(ARGS)

fuzz: build ## change the pieces of the fuzz corpora for a while (ARGS="100000 web_socket_frames")
	@$(RUN) -m fuzz.run $(ARGS)

bench: build $(VENV)/.bench ## compare this library with its peers (ARGS="--quick")
	@$(RUN) -m moorings bench tcp $(ARGS)

bench-echo: build ## compare the cost of one echo with C and with the asyncio ways
	@$(RUN) -m moorings.benchmarks.echo $(ARGS)

native: $(VENV)/.test ## compile the hot modules next to their sources, or say what is missing
	@MOORINGS_NATIVE=require $(RUN) setup.py -q build_ext --inplace
	@touch build/.native

clean: ## remove what builds and tests left
	rm -rf build dist src/*.egg-info $(RECORD) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environment, too
	rm -rf $(VENV)

# The hot modules are built in place: the tests run the sources under src/ and the compiled modules beside them.
# A pure outcome leaves no stamp, so that the next call looks for a compiler again.
build: build/.native
	@:

build/.native: $(HOT) setup.py src/moorings/_hot_modules.py $(VENV)/.test
	@$(RUN) setup.py -q build_ext --inplace
	@if grep -q '"native": true' $(RECORD); then touch $@; fi

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo 'moorings: installing into $(VENV), which takes a minute the first time'
	@MOORINGS_NATIVE=off $(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

# The packages of an extra of pyproject.toml, without the package itself.
$(VENV)/.lint $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: $(VENV)/.test
	@$(RUN) -c 'import tomllib; from pathlib import Path; \
	  print(*tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]["$*"], sep="\n")' > $@.txt
	@echo 'moorings: installing what $* needs into $(VENV)'
	@$(RUN) -m pip install --quiet --disable-pip-version-check --requirement $@.txt
	@touch $@

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "moorings: $(PYTHON) is missing (Debian: apt install python3)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "moorings: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "moorings: Python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
