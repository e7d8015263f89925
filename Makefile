# Everything from a fresh clone: `make demo` and `make test` install what they need into .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
SEEDS ?= 0,1,2
# Where the demo puts its images, answers and students.
DEMO ?= runs/demo

.PHONY: install demo test coverage test-vllm check clean

install:
	@$(PYTHON) install.py

demo: install
	@$(BIN)/aspects scenes $(DEMO)/scenes
	@$(BIN)/aspects run --dataset $(DEMO)/scenes --questions questions/scenes.yaml --teacher tiny \
		--store $(DEMO)/store --runs $(DEMO)/students --recipe demo --seeds $(SEEDS)

# A file's tests stay together: they share models and servers. Files run in the order of tests/conftest.py, not by their
# number of tests. One thread each, since the processes share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile \
	--no-loadscope-reorder

test: install
	@$(PYTEST)

# Lines that only other processes run (vLLM's, commands that tests start) count as not run.
coverage: install
	@$(PYTEST) --cov --cov-report term:skip-covered

# The tests of vLLM's engines with another release of it: make test-vllm VLLM=0.23.0
test-vllm:
	@$(PYTHON) tests/vllm_release.py "$(VLLM)"

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/flows/test_imports.py

clean:
	rm -rf .venv .coverage runs .pytest_cache .mypy_cache .ruff_cache
