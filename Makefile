# Every task of a developer, from a bare machine with python3, git and make. `make help` lists them.
# Each task sets up what it needs and leaves a stamp in .stamps, so that a second run does only what changed.
# Nothing outside this folder is touched but system packages, and those only where root or sudo allows.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
# Wheels only: nothing but inferd is compiled here. protobuf below 7 because tritonclient, of the suite, wants it so.
PIP    := $(PY) -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --only-binary=:all: --no-build-isolation 'protobuf<7'

export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/.tools/bin:$(PATH)
export PIP_NO_INPUT := 1
# Bytecode is kept, whatever the caller's shell says: of each test file with its rewritten assertions, for all processes and builds to come.
unexport PYTHONDONTWRITEBYTECODE

NATIVE := $(wildcard inferd/_core/*/*.pyx inferd/_core/*/*.pxd inferd/_core/*/*.h tests/*.pyx) setup.py
PYTEST := $(PY) -m pytest
# Tests run side by side in so many processes; of one file in one, for what its tests share. make test JOBS=0: one after the other.
# Three for two cores: much of the suite waits for servers and clients of its own. In the order of tests/conftest.py: the longest first.
JOBS ?= 3
# A process that dies is not replaced: with loadfile xdist would run the test that ended it again and again, without end.
SIDE_BY_SIDE := -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0
# The suite on a build outside this tree: $(call test_tree,FOLDER). PYTHONSAFEPATH keeps the release build out of sight.
test_tree = PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(1):$(CURDIR)/tests $(CURDIR)/$(VENV)/bin/pytest -o pythonpath=
# What `make debug` runs: all of the suite, unless named: make debug TESTS='tests/_core tests/serving'
TESTS ?=
# No leak check: Python itself keeps memory until its end. Freed memory is held back up to 8 MiB only (ASan's own default is
# 256): the tests that memory does not grow see a process whose quarantine is full after their warm-up.
ASAN := detect_leaks=0:quarantine_size_mb=8
# What the address sanitizer looks at. Processes run the same native code once more, and take a minute of two cores: make sanitize
# SANITIZED=tests/serving/processes is for changes of theirs.
SANITIZED ?= tests/_core tests/serving tests/fuzz --ignore=tests/serving/processes
# What the thread sanitizer looks at: who waits, takes and is answered, on threads of their own. Python is not built for it; it sees the
# GIL's mutex and condition all the same, so that nothing needs to be suppressed.
THREADED := tests/_core/batching/test_queue.py tests/_core/batching/test_batcher.py tests/_core/batching/test_local.py tests/_core/inference/test_bound_runs.py tests/_core/metrics/test_histogram.py tests/_core/base/test_idle_thread.py
# make fuzz FUZZ_SECONDS=600 FUZZ_TARGETS='http2 codec' FUZZ_SANITIZE=address,undefined: seconds are each target's; FUZZ_FLAGS are
# tests/fuzz/run.py's. FUZZ_CAMPAIGN=1: each target until it has its executions; FUZZ_SECONDS are those of the call then, and the next call
# goes on. The driver is loaded before the sanitizer: both have what the instrumentation calls, and the driver's is wanted.
FUZZ_CAMPAIGN ?=
FUZZ_SECONDS ?= $(if $(FUZZ_CAMPAIGN),0,10)
FUZZ_TARGETS ?=
FUZZ_SANITIZE ?=
FUZZ_FLAGS ?=
FUZZ = $(if $(FUZZ_SANITIZE),build/fuzz-sanitize/tree,build/fuzz/tree)
FUZZ_PRELOAD = $(if $(FUZZ_SANITIZE),PYTHONMALLOC=malloc ASAN_OPTIONS=$(ASAN):quarantine_size_mb=1:verify_asan_link_order=0 \
	LD_PRELOAD="$$(echo $(FUZZ)/fuzz_driver.*.so) $$(clang -print-file-name=libclang_rt.asan-$$(uname -m).so)")

# Clients of other languages, which the suite runs.
CLIENTS := .stamps/node .stamps/go .stamps/java .stamps/grpcurl .stamps/azurite

.PHONY: help demo test unit fix bytecode check lint types docs build debug coverage sanitize fuzz instructions bench bench-inputs bench-production peers tables wheel release-check proto examples clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .stamps/build  ## serve the example models, send real requests, show responses and latency
	$(PY) -m inferd demo

test: .stamps/develop $(CLIENTS)  ## lint, types and the whole suite
	@$(MAKE) --no-print-directory --jobs=2 --output-sync types lint bytecode
	$(PYTEST) $(SIDE_BY_SIDE)

unit: .stamps/develop  ## the tests that start no other program, a minute and a half; before each commit
	$(PYTEST) -q $(SIDE_BY_SIDE) --unit

fix: .stamps/develop  ## ruff: formats all files, and mends what it can mend safely
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Compiles the test files while mypy keeps one core busy: else each process of the suite compiles all of them by itself.
# A file that cannot be imported is reported by the suite.
bytecode: .stamps/develop
	@$(PYTEST) --collect-only -q >/dev/null 2>&1 || true

# The test file that mirrors FILE, or the folder of its package where there is none.
MIRROR = $(dir $(FILE:inferd/%=tests/%))
check: .stamps/develop  ## FILE=inferd/_core/http2/headers.pyx: builds what changed, and runs the test file that mirrors FILE
	@test -e "$(FILE)" || { echo "make check FILE=...: expected a file of inferd/, got '$(FILE)'" >&2; exit 2; }
	$(PYTEST) -q $(or $(wildcard $(MIRROR)test_$(basename $(notdir $(FILE))).py),$(MIRROR))

lint: .stamps/develop  ## ruff check, ruff format --check, cython-lint; pages, docstrings and comments in plain words
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/cython-lint inferd
	$(PY) scripts/check_docs.py
	$(PY) scripts/check_comments.py

types: .stamps/develop  ## mypy --strict; stubtest: the stubs of the native modules say what the modules have
	$(PY) -m mypy
	$(PY) -m mypy.stubtest inferd._core --concise --ignore-missing-stub --ignore-disjoint-bases --ignore-unused-allowlist \
		--allowlist scripts/stubs-differ.txt --mypy-config-file scripts/stubtest.ini

docs: .stamps/develop  ## build/docs/html: the pages as a site with search; a warning or a dead link is an error
	$(PY) -m sphinx -W --keep-going --quiet --builder html docs build/docs/html
	@echo "open build/docs/html/index.html"

build: .stamps/build  ## compile the native modules in place

debug: $(CLIENTS)  ## the suite on a build with assertions and object counters, in a tree of its own
	INFERD_DEBUG=1 $(PY) setup.py --quiet build --build-lib build/debug/tree
	ln -sfn $(CURDIR)/examples build/debug/tree/examples
	$(call test_tree,build/debug/tree) $(SIDE_BY_SIDE) $(TESTS)

# Cython's plugin wants each .c and .pyx beside its module, and looks from the working folder on. A test that fails
# because tracing is slow still leaves its lines in the table. Lines that run without the GIL count as not run.
coverage: .stamps/develop  ## lines of Python and Cython that `make unit` runs, by package, on a profile build in a tree of its own
	INFERD_PROFILE=1 $(PY) setup.py --quiet build --build-lib build/profile/tree
	cp -r build/profile/c/inferd build/profile/tree/
	cp --parents inferd/_core/*/*.pyx build/profile/tree/
	ln -sfn $(CURDIR)/examples build/profile/tree/examples
	-cd build/profile/tree && $(call test_tree,build/profile/tree) --rootdir=$(CURDIR) -c $(CURDIR)/pyproject.toml -q $(SIDE_BY_SIDE) --unit -o timeout=600 \
		--cov=inferd --cov-config=$(CURDIR)/pyproject.toml --cov-report=json:$(CURDIR)/build/coverage.json $(or $(TESTS:%=$(CURDIR)/%),$(CURDIR)/tests)
	$(PY) scripts/coverage_table.py build/coverage.json

sanitize: .stamps/develop  ## native modules and serving under the address and undefined-behaviour sanitizers, the batcher's tests under that of threads
	INFERD_DEBUG=1 INFERD_SANITIZE=address,undefined $(PY) setup.py --quiet build --build-lib build/debug-address-undefined/tree
	PYTHONMALLOC=malloc ASAN_OPTIONS=$(ASAN) \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	$(call test_tree,build/debug-address-undefined/tree) --capture=sys $(SIDE_BY_SIDE) $(SANITIZED)
	INFERD_DEBUG=1 INFERD_SANITIZE=thread $(PY) setup.py --quiet build --build-lib build/debug-thread/tree
	PYTHONMALLOC=malloc LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" \
	$(call test_tree,build/debug-thread/tree) --capture=sys $(THREADED)

fuzz: .stamps/develop .stamps/system-fuzz  ## coverage-guided fuzzing of all that reads what others send, FUZZ_SECONDS=10 for each target
	CC=clang LDSHARED='clang -shared' INFERD_FUZZ=1 INFERD_SANITIZE=$(FUZZ_SANITIZE) $(PY) setup.py --quiet build --build-lib $(FUZZ)
	PYTHONPATH=$(FUZZ):. $(FUZZ_PRELOAD) $(PY) tests/fuzz/run.py $(if $(FUZZ_CAMPAIGN),--campaign) --seconds $(FUZZ_SECONDS) $(FUZZ_FLAGS) $(FUZZ_TARGETS)

instructions: .stamps/develop .stamps/system-instructions  ## count a request's instructions; fails where they grew by more than 3 %
	$(PY) benchmarks/instructions.py --sections inline,executor --compare

bench: .stamps/develop .stamps/system-instructions .stamps/system-bench  ## micro benchmarks, the server's cost, instructions, inferd bench beside other testers and on known changes; what moved
	$(PYTEST) benchmarks --benchmark-enable --benchmark-columns=min,median,ops --benchmark-json=build/micro.json
	$(PY) benchmarks/instructions.py
	$(PY) benchmarks/server_cost.py
	$(PY) benchmarks/stream_cost.py
	$(PY) benchmarks/rest_cost.py
	$(PY) benchmarks/many_models.py
	$(PY) benchmarks/bench_check.py
	$(PY) benchmarks/compare_check.py
	$(MAKE) --no-print-directory tables
	$(PY) benchmarks/moved.py --micro build/micro.json

bench-inputs: .stamps/develop .stamps/system-bench .stamps/images  ## raw inputs: kernels, decoders and whole models beside other libraries
	$(PY) benchmarks/step_cost.py
	.peers/images/bin/python benchmarks/image_kernel.py
	.peers/images/bin/python benchmarks/image_decode.py
	$(PY) benchmarks/image_cost.py
	$(PY) benchmarks/text_cost.py
	$(PY) benchmarks/table_cost.py
	$(MAKE) --no-print-directory tables

# All of them, whatever one says: each ends with 1 where something was asked and not kept.
bench-production: .stamps/develop .stamps/system-bench  ## overload, large requests, hostile peers, TLS, certificates, servers and models replaced under load, more models than fit, a soak; under an hour
	missed=; for name in state_kept overload large_requests hostile tls_cost rotation rolling_restart life_cycle overcommit soak; do $(PY) benchmarks/$$name.py || missed+=" $$name"; done; \
	$(MAKE) --no-print-directory tables; \
	[ -z "$$missed" ] || { echo "not kept, or not measured:$$missed" >&2; exit 1; }

peers: .stamps/develop .stamps/system-bench  ## other model servers beside this one, each in a venv of its own; about an hour
	$(PY) benchmarks/peers

tables: .stamps/develop  ## the tables of results in README.md and docs/, from the newest whole line of each history
	$(PY) benchmarks/measured.py --write
	$(PY) benchmarks/peers --pages-only

wheel: .stamps/develop  ## dist/: a wheel with its libraries, the SDK's, an sdist; installed into a new venv and asked
	rm -rf build/wheel dist
	$(PIP) wheel --no-build-isolation --no-deps --wheel-dir build/wheel .
	$(VENV)/bin/auditwheel repair --plat auto --wheel-dir dist build/wheel/inferd-*.whl
	$(PIP) wheel --no-build-isolation --no-deps --wheel-dir dist ./clients/python
	$(PY) setup.py --quiet sdist --dist-dir dist
	$(PIP) wheel --no-build-isolation --no-deps --wheel-dir build/sdist dist/inferd-*.tar.gz
	$(PY) scripts/check_wheel.py

release-check: .stamps/develop  ## what a release needs: the tag, its notes, sdists, a wheel for each Python here, built, installed and asked; twine check
	$(PY) scripts/release_check.py

proto: .stamps/develop  ## regenerate inferd/protocol/descriptors.binpb from proto/
	$(PY) proto/generate.py

examples: .stamps/develop  ## train and export the models in examples/models again
	$(PY) examples/train_digits.py
	$(PY) examples/make_identity.py

clean:  ## remove everything that was built or installed here
	rm -rf build dist clients/python/build .stamps .venv .tools .peers .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info clients/python/*.egg-info
	rm -rf tests/clients/node/node_modules
	find inferd -name '*.so' -delete
	rm -f native_access.*.so http2_access.*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

.stamps/system-%: scripts/system-packages
	@mkdir -p $(@D)
	PYTHON=$(PYTHON) scripts/system-packages $*
	@touch $@

$(PY): | .stamps/system-build
	$(PYTHON) -m venv $(VENV)

# What serving needs: enough for `make demo`.
.stamps/runtime: pyproject.toml clients/python/pyproject.toml | $(PY)
	@echo "installing Python packages into $(VENV)"
	$(PIP) install 'setuptools>=77' 'setuptools-scm>=8.1' 'cython>=3.2,<4'
	$(INSTALL) -e clients/python -e '.[cpu,client]'
	@touch $@

.stamps/build: $(NATIVE) .stamps/runtime
	$(PY) setup.py --quiet build_ext --inplace
	@touch $@

# A new build is no reason to install the tools again.
.stamps/develop: pyproject.toml | .stamps/build .stamps/system-test
	@echo "installing the tools of development into $(VENV)"
	$(INSTALL) -e clients/python -e '.[cpu,client,bench,dev,test]'
	@touch $@

.stamps/images: benchmarks/image_requirements.txt | $(PY)
	$(PY) -m venv .peers/images
	.peers/images/bin/python -m pip --disable-pip-version-check --quiet install --only-binary=:all: -r $<
	@touch $@

.stamps/node: tests/clients/node/package-lock.json .stamps/develop
	cd tests/clients/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Azure's storage on this machine, which the suite fetches models from.
.stamps/azurite: .stamps/develop
	npm install --prefix .tools/azurite --no-save --no-package-lock --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error azurite@3.37.0
	@touch $@

PROTOS := $(wildcard proto/inference/*.proto proto/inferd/v1/*.proto)

.stamps/go: tests/clients/go/client.go examples/clients/go/main.go $(PROTOS) scripts/go-client scripts/unpack-debian | .stamps/develop
	@echo "building the Go clients of the suite"
	scripts/go-client
	@touch $@

.stamps/java: examples/clients/java/Infer.java $(PROTOS) scripts/java-client scripts/unpack-debian | .stamps/system-test
	@echo "building the Java client of the suite"
	scripts/java-client
	@touch $@

.stamps/grpcurl: scripts/grpcurl | $(PY)
	scripts/grpcurl
	@touch $@
