# Two commands do everything on a fresh machine: `make demo` and `make test`. PY chooses the Python (3.11 or newer).
PY ?= python3
BIN := .venv/bin
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

OLDEST := .venv-oldest/bin

.PHONY: demo demo-translated test test-all test-oldest release-check bench results docs lint

.venv/.ready: pyproject.toml constraints.txt
	@if command -v uv > /dev/null; then uv venv -q --allow-existing -p $(PY) .venv && uv pip install -q -p $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else $(PY) -m venv .venv && $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'; fi
	@touch $@

demo: .venv/.ready  ## the paper's central finding on real digits, then the path of an HTML report (about 5 minutes on two cores)
	@$(BIN)/polyvae sweep quick --workers 2 --store runs/demo
	@$(BIN)/polyvae report --store runs/demo --out report

DATA ?= data
demo-translated: .venv/.ready  ## the data on which the paper's methods fail, and one that does not: all of MNIST in DATA; an hour of two cores
	@$(BIN)/polyvae sweep translated_solved --data-dir $(DATA) --workers 2 --store runs/translated \
		--where "seed = 0 AND (method IN ('mopoe', 'mmvae', 'mvae') OR method_options LIKE '%best_of%')"
	@$(BIN)/python scripts/translated.py --store runs/translated

test: .venv/.ready lint
	@OMP_NUM_THREADS=1 $(BIN)/pytest

test-all: .venv/.ready lint  ## also the slow truths: kill storms, long trainings, real judges
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m ''

test-oldest:  ## the suite, or TESTS of it, on the least version of each dependency that pyproject.toml allows
	@$(PY) -m venv .venv-oldest && $(OLDEST)/pip install -q --disable-pip-version-check uv
	@$(OLDEST)/uv pip install -q -p $(OLDEST)/python --resolution lowest-direct -e '.[dev]'
	@OMP_NUM_THREADS=1 $(OLDEST)/pytest -W default $(TESTS)  # old versions warn of new ones beside them

release-check:  ## builds sdist and wheel of the last commit, installs the wheel without the tree, runs it; sizes and start times
	@$(PY) scripts/release_check.py --python $(PY)

bench: .venv/.ready  ## peaks of the machine, levers, ratios against MultiVae and against the stored ones (docs/performance.md)
	@$(BIN)/python benchmarks/roofline.py && $(BIN)/python benchmarks/levers.py && $(BIN)/python benchmarks/run.py

lint: .venv/.ready
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && $(BIN)/ty check -q src

RESULTS := run_id,dataset,modalities,method,only,beta,seed,seconds,bound/distortion,bound/rate,frechet/digits/unconditional/*,coherence/leave_one_out*,coherence/joint*,coherence/self/*,linear_probe/joint,log_likelihood/joint,log_likelihood/unconditional,diversity/digits/mean

KEPT := docs/results/records docs/results/translated docs/results/methods docs/results/normal

results: .venv/.ready  ## docs/results and the tables of the pages anew from the records: figures, claims, the report (index.html, not in git)
	@$(BIN)/polyvae report --store docs/results/records --out docs/results
	@$(BIN)/polyvae records --store docs/results/records --columns '$(RESULTS)' --out docs/results/results.csv
	@$(BIN)/polyvae claims --store $(KEPT) --out docs/results/claims.md
	@$(BIN)/python scripts/table_1.py --picture > /dev/null
	@$(BIN)/python scripts/pages.py

.venv/.docs: .venv/.ready
	@if command -v uv > /dev/null; then uv pip install -q -p $(BIN)/python -c constraints.txt -e '.[docs]'; \
	else $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'; fi
	@touch $@

docs: .venv/.docs  ## the site, site/html/index.html: these pages, API, methods, and tutorials that it runs (some minutes on two cores)
	@OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -j 2 -b html -d site/doctrees docs site/html
	@echo site/html/index.html
