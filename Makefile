# `make demo` and `make test` are all the set-up there is.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test check
demo: $(STAMP)
	$(BIN)/facebridge demo

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	scripts/check

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]' --constraint constraints.txt
	touch $@
