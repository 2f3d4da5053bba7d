# `make` alone lists the targets. PYTHON=… picks another interpreter, REDIS_URL=… another server than the embedded one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
# Tests mostly wait for servers and deadlines, so more of them run at once than there are cores; WORKERS=0 for one by one.
WORKERS ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: demo test soak bench lint help

demo: $(VENV)/.installed-embedded ## Serve the example kitchens at http://127.0.0.1:8000, with sign-ins to try
	@PYTHONUNBUFFERED=1 $(RUN) example_project/manage.py demo $(ARGS)

test: $(VENV)/.installed-dev ## Run the test suite; ARGS="-k lockout" are handed to pytest
	@PYTHONDEVMODE=1 $(RUN) -m pytest tests -n $(WORKERS) --dist worksteal $(ARGS)

soak: $(VENV)/.installed-dev ## Run what takes minutes: a million random operations, django-redis's and Django's own suites
	@$(RUN) -m pytest tests -m soak -n $(WORKERS) $(ARGS)

bench: $(VENV)/.installed-bench ## Run the benchmarks, peers side by side; ARGS=--quick takes six minutes
	@$(RUN) benchmarks $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, formatting and types
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' Makefile

# One environment; an extra is installed once, and again only when the metadata change.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(RUN)
	@echo "Installing bergizi-redis[$*] into $(VENV) (once) ..."
	@$(RUN) -m pip install --quiet --editable '.[$*]'
	@touch $@

$(RUN):
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "bergizi_redis needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; } # else it is taken for whole next time
