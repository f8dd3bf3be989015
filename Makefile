# Aliases only: what they call is in pyproject.toml, edge/ and examples/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 4

.PHONY: demo test check firmware lock questions clean

demo: $(VENV)/ready ## build, boot an emulated board, deploy over SSH, measure, show the table
	$(BIN)/python -m examples.digits.demo

test: check ## the whole test suite, four files side by side: most of it waits for emulated boards
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/ready ## linters and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror $(shell git ls-files '*.cc' '*.c' '*.h')

firmware: $(VENV)/ready ## the device binary for every aarch64 board
	$(BIN)/invoke build --board rpi4

# Marked ready last: an interrupted set-up goes on where it was. Every wheel's hash is in the lock.
$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else \
	  "edge needs Python 3.10 to 3.13; this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "setting up $(VENV): Python packages and the compiler, about 250 MB once"
	@$(PYTHON) -m venv $(VENV) || { echo "install the venv module (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: ## pin the newest wheels that pyproject.toml allows, for all Pythons and platforms
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 \
	  --generate-hashes --upgrade --no-header --quiet -o requirements.lock
	for name in edge/environments/*.in; do $(BIN)/uv pip compile $$name --universal \
	  --python-version 3.10 --generate-hashes --upgrade --no-header --no-annotate --quiet \
	  -o $${name%.in}.lock || exit 1; done

questions: $(VENV)/ready ## docs/questions.md: a study on this machine, and on an emulated board
	$(BIN)/python -m benchmarks.questions

clean: ## what was set up here; the cache stays ($$XDG_CACHE_HOME/edge)
	rm -rf $(VENV)
