# The commands of this repository. `make test` and `make demo` need Python 3.10 or newer and a network for packages.
#
#   make test  [ARGS="-k keys"]  the suite, on memory and on moto's S3 server (and a real one that is named: tests/conftest.py)
#   make demo  [ONCE=1]          the Django and the Flask site of example_project on an S3 server of their own
#   make browser                 the example in a real browser (needs Debian's chromium)
#   make lint types              ruff; mypy --strict and pyright
#   make docs                    the documentation as a site in build/site; warnings are errors
#   make generate                write docs/cli.md again from the commands
#   make rooms                   draw the rooms of docs/architecture.md again from the imports
#   make coverage                the branches that the suite takes in memory, held to the figure in pyproject.toml
#   make bench [SECTIONS="bulk"] CloudCached beside others on a Ceph gateway of its own, written into README and docs
#   make bench-files [MB=5000]   large files both ways beside boto3's transfer manager, on a Ceph gateway of its own
#   make bench-purge             a purge of 100,000 entries with writers beside it, on a Ceph gateway of its own
#   make lifecycle-days          expiry by lifecycle rules, on a Ceph gateway whose days take 5 seconds
#   make soak  [SECONDS=300]     a site under load, its S3 server killed and restarted; gunicorn threads, then gevent
#   make fuzz  [SECONDS=180]     the entry parser under atheris
#   make matrix                  the suite on every pair of Python and Django
#   make wheel-test              the suite against the built wheel
#   make ci                      everything that CI runs (.ci/run)
#   make clean                   remove what the others made
#
# PYTHON=python3.12 chooses another Python.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

override VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
override PY := $(VENV)/bin/python
override PIP := $(PY) -m pip --quiet --disable-pip-version-check
# One stamp for the environment (another Python makes it anew) and one for each set of packages in it.
override MADE := $(VENV)/.python-$(or $(VERSION),missing)

.PHONY: test demo browser lint types docs generate rooms coverage bench bench-files bench-purge lifecycle-days soak fuzz matrix wheel-test ci clean
.NOTPARALLEL:
# The user's shell may name another site.
unexport DJANGO_SETTINGS_MODULE
.DELETE_ON_ERROR:

test: $(VENV)/.test
	$(PY) -m pytest -n auto --maxprocesses 4 -m "not browser" $(ARGS)

browser: $(VENV)/.test
	$(PY) -m pytest -m browser tests/with_browser $(ARGS)

demo: $(VENV)/.demo
	@$(PY) -m example_project.demo

lint: $(VENV)/.lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.test $(VENV)/.types
	$(PY) -m mypy
	$(PY) -m pyright

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict -f .mkdocs.yml
	@! grep -rlE '<(script|link|img)[^>]*(src|href)="?(https?:)?//' build/site --include='*.html' || { echo "the site loads from elsewhere" >&2; exit 1; }

generate: $(VENV)/.test rooms
	$(PY) tests/support/generate_cli.py

rooms:
	$(PYTHON) docs/draw_rooms.py

coverage: $(VENV)/.coverage
	@mkdir -p build/coverage
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -q -n auto --maxprocesses 4 -m "not browser and not slow" -k "not moto" --ignore tests/house $(ARGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

bench: $(VENV)/.bench
	$(PY) -m benchmarks.servers
	benchmarks/on-ceph $(PY) -m benchmarks $(SECTIONS)

bench-files: $(VENV)/.test
	S3_BYTES=$(shell expr $(or $(MB),5000) \* 3500000) benchmarks/on-ceph $(PY) -m benchmarks.files --megabytes $(or $(MB),5000) --rounds 2 --pause 100 --json docs/figures/files-large.json
	$(PY) -m benchmarks --render

bench-purge: $(VENV)/.test
	benchmarks/on-ceph $(PY) -m benchmarks.purge

lifecycle-days: $(VENV)/.test
	S3_LC_DAY=5 benchmarks/on-ceph sh -c 'CLOUDCACHED_TEST_LC_DAY=5 CLOUDCACHED_TEST_SERVERS=real \
	  CLOUDCACHED_TEST_ENDPOINT="$$AWS_ENDPOINT_URL" $(PY) -m pytest tests/maintenance/test_lifecycle_days.py'

soak: $(VENV)/.test
	$(PY) -m benchmarks.soak --seconds $(or $(SECONDS),300)
	$(PY) -m benchmarks.soak --seconds $(or $(SECONDS),300) --worker-class gevent

fuzz: $(VENV)/.test
	$(PIP) install atheris
	$(PY) tests/support/fuzz_entry.py -max_total_time=$(or $(SECONDS),180) -rss_limit_mb=2048

matrix:
	.ci/matrix

wheel-test: $(VENV)/.build
	.ci/wheel-test $(PY)

ci:
	.ci/run

clean:
	rm -rf .venv .matrix build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "CloudCached needs Python 3.10 or newer; $(PYTHON) is $(or $(VERSION),not there). Name one: make test PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) with Python $(VERSION)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.test: PACKAGES = --editable '.[django,flask,cli,encryption]' --group test
$(VENV)/.coverage: PACKAGES = --editable '.[django,flask,cli,encryption]' --group coverage
$(VENV)/.demo: PACKAGES = --editable '.[django,flask]' --group demo
$(VENV)/.lint: PACKAGES = --group lint
$(VENV)/.bench: PACKAGES = --editable '.[django,flask,cli,disk]' --group bench
$(VENV)/.types: PACKAGES = --group types
$(VENV)/.build: PACKAGES = --group build
$(VENV)/.docs: PACKAGES = --group docs

$(addprefix $(VENV)/.,test coverage demo bench lint types build docs): $(MADE) pyproject.toml
	@echo "Installing the packages for make $(@F:.%=%)"
	@$(PIP) install $(PACKAGES)
	@touch $@
