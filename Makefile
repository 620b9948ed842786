# Every verb sets itself up first: `setup` is one file comparison when nothing changed.
# Works with GNU make 3.81 (macOS) and a POSIX shell.

PYTHON ?=
SHELL := /bin/sh
VENV_PYTHON := .venv/bin/python
STAMP := .venv/.installed
SOURCES := schemas services infra tidemark_client tests $(wildcard benchmarks) examples
# A test run starts two hundred processes. Where the environment forbids to keep compiled modules, each of them would
# compile up to 1,700 files anew, which is half of its start: they are kept in .venv, so that the sources stay clean.
KEPT := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX='$(CURDIR)/.venv/bytecode'

COMPILE = $(VENV_PYTHON) -m uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet
# Helm in the version that the chart is checked with, built from its sources by Go's own client.
HELM_VERSION := v3.18.6
HELM := $(CURDIR)/.venv/tools/helm
COMPOSE_VERSION := v2.40.3
DOCKER := $(CURDIR)/.venv/tools/docker
COMPOSE := $(DOCKER)/cli-plugins/docker-compose
# Of a program's own rule: ends with one line where Go is missing.
need_go = command -v go >/dev/null || { echo "$(1) with Go; install Go, or put $(notdir $@) into $(dir $@)" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-long bench lint lock vendor browser pictures helm-check compose-check sbom

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## .venv with the locked dependencies and .venv/bin/tidemark

$(STAMP): requirements.lock pyproject.toml infra/setup.sh
	@PYTHON="$(PYTHON)" sh infra/setup.sh

demo: $(STAMP) ## every service on embedded engines, one checked answer of each API, then stop
	@$(VENV_PYTHON) -m infra.demo

up: $(STAMP) ## everything on this machine until Ctrl-C; prints the addresses, and a key of a workspace to look at
	@exec .venv/bin/tidemark up --demo

# The order is that of tests/support/processes.py; a file, or files that share a Tidemark, stay in one process.
test: $(STAMP) ## all tests but the long ones, in two processes; JOBS=4 takes four, JOBS=0 none beside pytest itself
	@$(KEPT) $(VENV_PYTHON) -m pytest -m "not long" -n $(or $(JOBS),2) --dist loadgroup --no-loadscope-reorder --durations=20 \
		tests/unit tests/e2e tests/integration

# Of properties `make test` tries a quarter of the examples (tests/support/properties.py).
test-long: $(STAMP) ## kills, outages and soaks, and all examples of properties; up to an hour
	@$(KEPT) $(VENV_PYTHON) -m pytest -m "long or hypothesis" --hypothesis-profile=whole tests

bench: $(STAMP) ## benchmarks; BENCH=full for the long ones
	@$(VENV_PYTHON) -m benchmarks

lint: $(STAMP) ## formatter, linter, strict type check
	@$(VENV_PYTHON) -m ruff format --check $(SOURCES)
	@$(VENV_PYTHON) -m ruff check $(SOURCES)
	@$(VENV_PYTHON) -m mypy

vendor: $(STAMP) ## bring the pages' libraries anew from npm, at the versions of infra/pages/package-lock.json
	@$(VENV_PYTHON) -m infra.pages.vendor

browser: $(STAMP) ## what tests of the pages need: Debian's headless chromium by apt, and axe-core by npm
	@command -v chromium-headless-shell >/dev/null || \
		(apt-get update -qq && apt-get install -y --no-install-recommends chromium-headless-shell)
	@$(VENV_PYTHON) -m infra.pages.vendor --axe .venv/browser/axe.min.js

pictures: $(STAMP) ## draw docs/pictures/*.png, and each page in each look into .pictures; needs `make browser`
	@$(VENV_PYTHON) -m tests.support.pictures

lock: $(STAMP) ## write requirements.lock anew from pyproject.toml; UPGRADE=1 takes newer versions
	@$(COMPILE) --extra embedded --group dev $(if $(UPGRADE),--upgrade) --output-file requirements.lock
	@$(COMPILE) --constraint requirements.lock --output-file infra/docker/requirements.lock

sbom: $(STAMP) ## bills of materials with licences into sbom/ (CycloneDX): the image, and the engines of `tidemark up`
	@$(VENV_PYTHON) -m infra.sbom sbom

helm-check: $(STAMP) $(HELM) ## lint and render the Helm chart, and validate its manifests; needs Go for Helm itself
	@PATH="$(dir $(HELM)):$$PATH" $(VENV_PYTHON) -m pytest -q tests/unit/infra/test_helm.py

$(HELM):
	@$(call need_go,helm-check builds Helm $(HELM_VERSION))
	@GOBIN="$(dir $(HELM))" go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)

compose-check: $(STAMP) $(COMPOSE) ## have Docker's own client read the compose file; needs that client, and Go for its plugin
	@DOCKER_CONFIG="$(DOCKER)" $(VENV_PYTHON) -m pytest -q tests/unit/infra/test_compose.py

# Built in a copy: the plugin's own replacements of modules count only there.
$(COMPOSE):
	@$(call need_go,compose-check builds Docker Compose $(COMPOSE_VERSION))
	@set -e; copy="$$(mktemp -d)"; trap 'rm -rf "$$copy"' EXIT; \
		module="$$(go mod download -json github.com/docker/compose/v2@$(COMPOSE_VERSION) | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')"; \
		cp -R "$$module/." "$$copy"; chmod -R u+w "$$copy"; mkdir -p "$(dir $(COMPOSE))"; \
		cd "$$copy"; go build -o "$(COMPOSE)" ./cmd
