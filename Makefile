# Two commands matter: `make demo` shows Kedge, `make check` is everything that CI runs. Each does all its own set-up.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
# Tests start hundreds of processes: each would compile every module again where an environment forbids to keep that.
export PYTHONDONTWRITEBYTECODE :=
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
COVERAGE_FLOOR := 90
# Whole processes, foreign programs and models: judged by what they do, not by lines. They wait a lot, so three at a time.
UNMEASURED := tests/api/cli/demo tests/scenarios tests/interop tests/house
LOCKS := base build dev foreign witness

.PHONY: help setup tools demo up check format lint types imports sizes test compliance bench soak storms lock audit clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: .venv/.ready ## install what is missing: SoftHSM, PostgreSQL, a C compiler for test modules, .venv with locked dependencies, .venv/bin/kedge

.venv/.ready: requirements/dev.txt requirements/base.in pyproject.toml tools/packages tools/venv
	@tools/packages softhsm2=softhsm2-util openssl=openssl curl=curl openssh-client=ssh-keygen \
		'postgresql=/usr/lib/postgresql/*/bin/postgres' gcc=cc libc6-dev=/usr/include/stdio.h
	@tools/venv .venv requirements/dev.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

tools: .tools/.ready ## install the foreign programs that tests compare with, in .tools

.tools/.ready: requirements/foreign.txt requirements/witness.txt tools/foreign tools/packages tools/venv tools/node/package.json tools/node/integrity.txt tools/node/integrity.mjs
	@tools/foreign
	@touch $@

demo: setup .tools/py/bin/imgtool ## run the main job from genesis to audit, and leave its artefacts in demo-out
	@$(BIN)/kedge demo --out demo-out

.tools/py/bin/imgtool: requirements/foreign.txt tools/venv
	@tools/venv .tools/py requirements/foreign.txt
	@touch $@

up: setup ## start keyroom and API for development, in .kedge; the first time it says what comes next
	@test -e .kedge/keyroom.toml || $(BIN)/kedge init .kedge
	@SOFTHSM2_CONF=.kedge/softhsm2.conf $(BIN)/kedge up --settings .kedge/keyroom.toml

check: setup tools lint types imports ## everything CI runs: style, types, contracts, and all tests with coverage
	@$(PYTEST) -n 3 --dist loadgroup $(UNMEASURED)
	@$(PYTEST) -n 2 $(UNMEASURED:%=--ignore=%) --cov --cov-report=term --cov-fail-under=$(COVERAGE_FLOOR)

format: setup ## rewrite the code in the house style
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lint: setup tools ## style of Python and of the Dockerfile
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@.tools/py/bin/hadolint Dockerfile

types: setup ## mypy --strict, tests too
	@$(BIN)/mypy

imports: setup ## who may import whom
	@$(BIN)/lint-imports --no-logo

sizes: setup ## the structure tests alone: sizes, mirrored tests, names
	@$(PYTEST) -q tests/house

test: setup tools ## all tests, without coverage
	@$(PYTEST) -n 2

compliance: setup ## write docs/compliance.md from the requirement marks of the tests
	@$(BIN)/python -m tools.compliance

bench: setup tools ## measure the road of a signature, into bench-out/results.json
	@$(BIN)/python -m tests.bench

soak: setup tools ## property, model and kill tests with many more histories and rounds
	@KEDGE_HISTORIES=$${KEDGE_HISTORIES:-20000} KEDGE_ROUNDS=$${KEDGE_ROUNDS:-20} \
		KEDGE_SOAK_SECONDS=$${KEDGE_SOAK_SECONDS:-180} KEDGE_KILLS=$${KEDGE_KILLS:-100} \
		$(PYTEST) -n 2 --hypothesis-profile=soak --timeout=0 tests/pki tests/scenarios
	@$(PYTEST) -n 0 -s --timeout=0 tests/soak/outages.py

storms: setup tools ## kill -9 under load (KEDGE_KILLS on each engine) and outages of the machine, without the rest of soak; as root
	@KEDGE_KILLS=$${KEDGE_KILLS:-50} $(PYTEST) -n 0 -s --timeout=0 tests/scenarios/test_storm.py tests/soak/outages.py

lock: setup ## choose dependency versions anew and write them with their hashes
	@for name in $(LOCKS); do tools/lock "$$name"; done

audit: setup tools ## compare the locked versions with known vulnerabilities (asks a public service)
	@.tools/py/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/base.txt

clean: ## remove everything that the commands above made
	@rm -rf .venv .tools build dist demo-out bench-out *.egg-info .coverage .coverage.* .grimp_cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find pki hsm ceremonies api tests tools -name __pycache__ -prune -exec rm -rf {} +
