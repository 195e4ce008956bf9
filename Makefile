# Thin targets over `python benchmarks/<name>.py`. ARGS="..." passes Hydra overrides on, e.g.
#   make bench ARGS="budget.n=2000 tracker=none"
PYTHON ?= python3
PY := .venv/bin/python
LEDGER := $(filter ledger=%,$(ARGS))
COMPARED = $(if $(BASE),"base='$(BASE)'") $(if $(NEW),"new='$(NEW)'") $(if $(GRID),cells=$(GRID))
GRIDS := $(basename $(notdir $(wildcard conf/grid/*.yaml)))

# Sweep the grids of $(1), then write the report. A failed cell fails the target at its end; wrong settings stop it at once.
define sweep
@status=0; for grid in $(1); do \
	$(PY) benchmarks/run.py +grid=$$grid $(ARGS) || { status=$$?; if [ $$status -ne 1 ]; then exit $$status; fi; }; \
done; $(PY) benchmarks/report.py $(LEDGER) && exit $$status
endef

.DEFAULT_GOAL := help
.PHONY: help setup bench bench-smoke bench-skip-tuning bench-deepcache bench-analytic bench-combined bench-all score-norms speed \
	report diagnose sync dashboard train parity reproduce calibrate tune lint format test test-slow clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="..."         Hydra overrides for any of them: make bench ARGS="budget.n=2000 tracker=none"'

setup: .venv/ready ## A virtual environment with everything; redone only when pyproject.toml or constraints.txt changes

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

bench: setup ## The main job: methods alone and combined, against fewer steps; about 15 minutes on 2 cores
	$(call sweep,default steps)

bench-smoke: setup ## A first look in under two minutes
	$(call sweep,smoke)

bench-skip-tuning: setup ## Skip-Tuning alone
	$(call sweep,skip_tuning)

bench-deepcache: setup ## DeepCache alone: interval by branch
	$(call sweep,deepcache)

bench-analytic: setup ## The five samplers of Analytic-DPM's Table 2
	$(call sweep,analytic)

bench-combined: setup ## Three methods at once
	$(call sweep,combined)

bench-all: setup ## Every grid in conf/grid
	$(call sweep,$(GRIDS))

score-norms: setup ## Score norms for Analytic-DPM: estimate, print, store, export
	$(PY) benchmarks/score_norms.py $(ARGS)

speed: setup ## Our speed beside diffusers, DeepCache and clean-fid; parts=[own] times your network
	$(PY) benchmarks/studies/speed.py $(ARGS)

report: setup ## Write tables, figures and results/report/index.html; BASE=ledger NEW=ledger [GRID=name]: is anything worse?
	$(PY) $(if $(BASE)$(NEW),benchmarks/compare.py $(COMPARED),benchmarks/report.py) $(ARGS)

diagnose: setup ## Draw the papers' figures (norm ratios, trunk similarity, optimal variances ...) into results/diagnostics
	$(PY) benchmarks/diagnose.py $(ARGS)

sync: setup ## Upload what has been measured to Weights & Biases
	$(PY) benchmarks/sync.py $(ARGS)

dashboard: setup ## Make a W&B workspace and report of it; without an account, the workspace as JSON
	$(PY) benchmarks/dashboard.py $(ARGS)

train: setup ## Train the embedded network and its classifier from scratch (about an hour; resumes)
	$(PY) benchmarks/train.py $(ARGS)

parity: setup ## Compare with numbers of the official code; ARGS="fixtures=FOLDER"; writes results/parity.csv
	$(PY) tests/parity/run.py $(ARGS)

reproduce: setup ## Print a published table beside our values: make reproduce GRID=paper/deepcache_table2
	$(PY) benchmarks/reproduce.py $(if $(GRID),table=$(GRID)) $(ARGS)

calibrate: setup ## Do intervals and verdicts hold? Pools of 20,000 images per arm (hours on 2 cores; resumes)
	$(PY) benchmarks/studies/calibrate.py $(ARGS)

tune: setup ## Choose a knob's value on one set of noise and reference images, confirm it on another
	$(PY) benchmarks/tune.py $(ARGS)

lint: setup ## Check style, formatting and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: setup ## Fix style and formatting
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# One thread each: with small networks, two threads wait for each other longer than they compute.
test: setup ## All tests but the slow ones, in two processes; under 10 minutes
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-slow: setup ## The slow tests
	$(PY) -m pytest -m slow $(ARGS)

clean: ## Delete what can be made again: environment, caches, report, offline W&B runs; keeps results/runs
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis results/report wandb
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
