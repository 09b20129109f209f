# setup: .venv from the hash-locked list    demo: a rendered film in out/    test: the whole suite
# lint: ruff, types, import rules           bench: the tables of docs/benchmarks     lock: pin again
PYTHON ?= python3
BIN := .venv/bin
FILES := core actors farm render.py tests

.PHONY: setup models demo test test-heavy lint bench lock clean

setup: .venv/ready

# pip, not only the stamp's date, decides: a changed lock or project file installs again
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"farm needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make PYTHON=python3.11 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

models: setup
	$(BIN)/farm models pull

demo: models
	$(BIN)/python -m farm.demo --out out

test: models
	$(BIN)/python -m pytest -m "not heavy" -n 2 --dist loadfile

test-heavy: models
	$(BIN)/python -m pytest -m heavy
	$(BIN)/python -m pytest --hypothesis-profile=random -m "not heavy" tests/core tests/actors

lint: setup
	$(BIN)/ruff check $(FILES)
	$(BIN)/ruff format --check $(FILES)
	$(BIN)/mypy core actors farm render.py

bench: models
	$(BIN)/farm bench media
	$(BIN)/farm bench swap
	$(BIN)/farm bench farm

lock:
	uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv out build *.egg-info
