# Everything happens in .venv; `make serve` and `make test` make it first.

PYTHON ?= python3.11
PORT ?= $(or $(GPEN_PORT),8000)
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install serve test test-all lint format audit bench load soak check-system clean

install: .venv/installed

check-system:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (set PYTHON to a Python 3.11)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: Python 3.11 or newer; $(PYTHON) is older"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: Python's venv module (Debian: apt-get install python3-venv)"; exit 1; }
	@$(PYTHON) docker/check_libraries.py

# basicsr has no wheel, and built in isolation it would fetch a second PyTorch: first what it is
# built with, then the rest without isolation.  Constraints pin every version.
.venv/serving: pyproject.toml constraints.txt | check-system
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet -c constraints.txt torch numpy cython setuptools wheel
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[heic,train]'
	touch $@

# and what tests and benchmarks need
.venv/installed: .venv/serving
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

serve: .venv/serving
	$(BIN)/gpen serve --port $(PORT)

# by file, JOBS at a time: the tests of a file share servers
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test: .venv/installed
	$(PYTEST)

# and the long ones
test-all: .venv/installed
	$(PYTEST) -m "long or not long"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# known vulnerabilities of the pinned packages, by pip-audit in an environment of its own
audit:
	test -x build/audit/bin/python || $(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit==2.10.1 || true
	build/audit/bin/python .ci/audit.py

format: .venv/installed
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: .venv/installed
	$(BIN)/python -m tests.benchmarks.engine --json build/bench/engine.json
	$(BIN)/python -m tests.benchmarks.stages --json build/bench/stages.json
	$(BIN)/python -m tests.benchmarks.service --json build/bench/service.json
	$(BIN)/python -m tests.benchmarks.start --json build/bench/start.json
	$(BIN)/python -m tests.benchmarks.plot build/bench/engine.json -o build/bench/bench.png
	$(BIN)/python -m tests.benchmarks.paste
	$(BIN)/python -m tests.benchmarks.decoders
	$(BIN)/python -m tests.benchmarks.train_step

# crowds, slow readers, refusing replicas and misfits, as a table; FLAGS=--help lists more
load: .venv/installed
	$(BIN)/python -m tests.load $(FLAGS)

soak: .venv/installed
	$(BIN)/python -m tests.soak

clean:
	rm -rf .venv
