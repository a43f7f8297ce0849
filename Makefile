# Everything a fresh machine needs: `make demo` and `make test` build their own .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-long test-slow test-peers lint types docs tables format check clean

install: .venv/installed

# torch first: with it in place nothing else asks for another build of it.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Frostline needs Python 3.11 or newer; say which: make PYTHON=python3.12 install"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

demo: install
	$(BIN)/python examples/demo.py

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 15 -m "not slow"

# What of the slow tests CI runs, too.
test-long: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow tests/integration/test_compare.py \
		tests/integration/test_documented_commands.py tests/integration/test_example_scripts.py \
		tests/integration/test_budgeted_runs.py tests/integration/test_broken_runs.py \
		-k "compare or README or on_tags or example or passes_its_budget or full_disk"

test-slow: install
	$(BIN)/python -m pytest -m slow

# The packages that rivals come from or are compared with, beside .venv and not in it: PEFT, and so every LoRA run,
# imports bitsandbytes wherever it is installed, and its memory would be measured with ours.
PEERS := build/peers
$(PEERS)/installed: .venv/installed constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade \
		--target $(PEERS) bitsandbytes galore-torch lomo-optim
	@touch $@

test-peers: $(PEERS)/installed
	OMP_NUM_THREADS=1 PYTHONPATH=$(PEERS) $(BIN)/python -m pytest -n 2 tests/unit/test_peers*.py \
		tests/integration/test_peers*.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Write the tables of the README files from the committed results.
tables: install
	$(BIN)/python benchmarks/tables.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint types docs test test-long

clean:
	rm -rf .venv build runs .mypy_cache .pytest_cache .ruff_cache
