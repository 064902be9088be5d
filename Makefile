# Slicer. `make` alone lists the targets. Everything that is installed lies in .venv and .tools, but for apt packages.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/.tools/bin:$(PATH)
# Tests, demo and benchmarks start Python some hundred times: each start reads bytecode, whatever the caller's session says.
unexport PYTHONDONTWRITEBYTECODE

# Arguments for pytest (`make test TEST=tests/unit`), for one benchmark (`make bench BENCH=attach`).
TEST ?=
BENCH ?=

# What needs an API server and nothing else of Kubernetes.
APISERVER_TESTS := tests/kubernetes/control tests/kubernetes/test_manifests.py::test_an_api_server_accepts_every_object

.PHONY: help setup setup-bench setup-kubernetes setup-kernel demo demo-down test test-apiserver test-kubernetes test-kernel check fix bench bench-quick bench-failover docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is needed (apt packages, uv, Python packages, wireguard-go); quick when all is there
	@$(PYTHON) -m tools.setup

setup-bench: ## also install what only the benchmarks need
	@$(PYTHON) -m tools.setup --bench

setup-kubernetes: setup ## also install what the Kubernetes tests need: packages, programs built from source (long, once)
	@$(BIN)/python -m tools.kubernetes
	@$(BIN)/python -m tests.kubernetes.lab prepare

setup-kernel: setup ## also install what the kernel tests need: QEMU, a Debian kernel that has WireGuard (27 MB)
	@$(BIN)/python -m tools.kernel

demo: setup ## two clusters on this machine, a slice over both, and a tour of what it does
	@slicectl lab demo

demo-down: ## remove the demo: every process, namespace, link and file of it
	@$(BIN)/slicectl lab down

test: setup ## all tests that need no Kubernetes, in namespaces of their own
ifeq ($(TEST),)
	$(BIN)/python -m tools.lanes --durations=15 --durations-min=1
else
	$(BIN)/python -m tools.sandbox $(BIN)/python -m pytest --durations=15 --durations-min=1 $(TEST)
endif

test-apiserver: setup ## the tests of the custom resources and the controller against a real API server (built once, long)
	@$(BIN)/python -m tools.kubernetes etcd api
	$(BIN)/python -m tools.sandbox $(BIN)/python -m pytest -p no:randomly --durations=10 --durations-min=5 $(APISERVER_TESTS)

test-kubernetes: setup-kubernetes ## the tests on real Kubernetes: two clusters on this machine
	$(BIN)/python -m tools.images
	$(BIN)/python -m tools.sandbox $(BIN)/python -m tests.kubernetes.run $(TEST)

test-kernel: setup-kernel ## the tests of kernel WireGuard, in an emulated machine with a Debian kernel
	$(BIN)/python -m tools.sandbox $(BIN)/python -m tests.kernel.run $(TEST)

check: setup ## lint, types, layers, lock file, docs, sizes
	@$(BIN)/python -m tools.check

fix: setup ## let ruff repair what it can
	$(BIN)/ruff check --fix --quiet && $(BIN)/ruff format

bench: setup-bench ## measure, and write docs/benchmarks (some minutes, wants a quiet machine)
	$(BIN)/python -m tools.sandbox $(BIN)/python -m tests.bench.run $(BENCH)

bench-quick: setup-bench ## run every benchmark shortly to prove that it works; measures and writes nothing
	$(BIN)/python -m tools.sandbox $(BIN)/python -m tests.bench.run --quick $(BENCH)

bench-failover: ## measure only how long flows stand still when a gateway dies (an hour; FAILOVER_REPEATS=5 for less)
	@$(MAKE) bench BENCH="failover failover_fast"

docs: setup ## write the generated pages anew: benchmark tables
	$(BIN)/python -m tests.bench.render

clean: ## remove what setup and the tools put into this clone
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
