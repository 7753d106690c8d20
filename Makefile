# effdl_fast: `make` lists the targets. All of them work in one virtual environment that the first one creates.
PYTHON ?= python3
VENV ?= .venv
EFFDL_WHEEL ?=
BUILD_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
SOURCES := $(sort $(shell find $(wildcard csrc effdl_fast benchmarks) -type f ! -name '*.so' ! -name '*.pyc')) \
	CMakeLists.txt pyproject.toml README.md LICENSE
CXX_SOURCES = $(shell find csrc tests/fuzz -name '*.cpp' -o -name '*.h' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh')
# The checkout may lie in a folder with spaces, so no function of make touches its path.
TREE := $(CURDIR)
RUN := env -u PYTHONPATH PATH="$(if $(filter /%,$(BIN)),$(BIN),$(TREE)/$(BIN)):$$PATH"
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Tests run in a folder that holds them and nothing else: whatever they start there imports the installed package, as the
# tree's effdl_fast is neither in the working directory nor on the path. PYTHONPATH is for processes that import tests.*.
SUITE := $(TREE)/build/suite
PYTEST := pytest -c "$(TREE)/pyproject.toml" --rootdir="$(SUITE)"

.PHONY: help demo test suite dev dev-cpu lint format wheel sdist sanitize fuzz bench clean distclean FORCE

help:
	@echo "make demo      train on real data with the compiled losses, benchmark the ops, write report/"
	@echo "make test      build, install into $(VENV) and run the whole test suite against the installed package"
	@echo "make dev       build the compiled module into the source tree; then: $(BIN)/python -m pytest tests/ops"
	@echo "make dev-cpu   the same without CUDA"
	@echo "make lint      ruff, clang-format and mypy, changing nothing;  make format  lets the first two mend"
	@echo "make bench     benchmark every op against PyTorch"
	@echo "make sanitize  op tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make fuzz      mutated records, streams and weights, FUZZ_SECONDS=$(FUZZ_SECONDS) of each, under both sanitizers"
	@echo "make wheel     manylinux wheel into dist/;  make sdist  source archive into dist/"
	@echo "make clean     remove what was built;  make distclean  remove $(VENV) too"
	@echo
	@echo "PYTHON=python3.12 chooses the interpreter of a new $(VENV), PYTEST_ARGS='-k exp_ga -x' the tests,"
	@echo "DEMO_ARGS='--data mnist.npz' the demo's data, EFFDL_WHEEL=dist/NAME.whl tests a finished wheel,"
	@echo "BUILD_ARGS='-C cmake.define.EFFDL_WITH_CUDA=OFF' skips CUDA."

# torchvision's data sets need torchvision, of the release that fits torch: one call of pip chooses both.
demo: $(VENV)/.deps-demo $(if $(findstring torchvision,$(DEMO_ARGS)),$(VENV)/.deps-train) $(VENV)/.installed
	$(RUN) effdl demo $(DEMO_ARGS)

test: $(VENV)/.deps-test $(VENV)/.installed suite
	cd "$(SUITE)" && $(RUN) PYTHONPATH="$(SUITE)" EFFDL_TEST_INSTALLED=1 $(PYTEST) $(PYTEST_ARGS)

suite:
	@mkdir -p build/suite && ln -sfn ../../tests build/suite/tests

bench: $(VENV)/.deps-demo $(VENV)/.installed
	$(RUN) effdl bench $(BENCH_ARGS)

$(BIN)/python:
	$(PYTHON) tools/check_machine.py
	$(PYTHON) -m venv $(VENV)

# What an extra of pyproject.toml needs, and what builds the package; not the package itself.
$(VENV)/.deps-%: pyproject.toml tools/requirements.py | $(BIN)/python
	$(BIN)/python tools/requirements.py build $* > $(VENV)/requirements-$*.txt
	$(PIP) install --prefer-binary -q -r $(VENV)/requirements-$*.txt
	touch $@

# What was installed from where and how; written anew only when that changes or a file is added or deleted.
$(VENV)/.inputs: FORCE | $(BIN)/python
	@$(file >$@.new,$(EFFDL_WHEEL) $(BUILD_ARGS) $(SOURCES))
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# Without isolation, so that CMake finds the same paths again and rebuilds only what changed.
$(VENV)/.installed: $(VENV)/.deps-demo $(VENV)/.inputs $(if $(EFFDL_WHEEL),$(EFFDL_WHEEL),$(SOURCES))
	$(RUN) python -m pip --disable-pip-version-check install -q --no-deps --force-reinstall \
		$(if $(EFFDL_WHEEL),$(EFFDL_WHEEL),--no-build-isolation -C build-dir=build/installed $(BUILD_ARGS) .)
	touch $@

dev dev-cpu: $(VENV)/.deps-dev
	$(RUN) cmake --preset $@ -DPython_EXECUTABLE="$$($(BIN)/python -c 'import sys; print(sys.executable)')"
	$(RUN) cmake --build --preset $@

lint: $(VENV)/.deps-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) clang-format --dry-run -Werror $(CXX_SOURCES)
	$(RUN) mypy

format: $(VENV)/.deps-dev
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) clang-format -i $(CXX_SOURCES)

# Isolated, as a user's pip builds it, in a fresh folder.
wheel: $(VENV)/.deps-dev
	rm -rf build/wheel dist/effdl_fast-*.whl
	$(RUN) python -m build --wheel -C build-dir=build/wheel/cmake $(BUILD_ARGS) --outdir build/wheel .
	$(RUN) auditwheel repair --wheel-dir dist build/wheel/*.whl
	$(RUN) auditwheel show dist/effdl_fast-*.whl

sdist: $(VENV)/.deps-dev
	rm -f dist/effdl_fast-*.tar.gz
	$(RUN) python -m build --sdist --outdir dist .

SANITIZER_LIBS = $(shell for lib in libasan.so libubsan.so libstdc++.so; do $${CXX:-c++} -print-file-name=$$lib; done)
SANITIZE_TESTS ?= $(wildcard tests/ops tests/test_binding.py tests/test_golden.py tests/test_corrupt_weights.py \
	tests/test_forged_weights.py)
# Left out: what starts a compiler or other processes, and repetitions that touch no other memory.
SANITIZE_SELECT ?= not compile and not export and not opcheck and not gloo and not spawn and not thread_counts \
	and not left_alone and not without_gradient and not levels_agree and not cross_entropy and not fake_tensors \
	and not two_billion and not gradcheck and not by_the_reference

# The module is built apart from the tree and put beside a copy of the Python sources; EFFDL_TEST_SANITIZED makes the
# suite refuse any other module. Leaks are not looked for: Python and torch keep memory until the end. torch itself is not
# instrumented.
sanitize: $(VENV)/.deps-dev suite
	$(RUN) cmake --preset sanitize -DPython_EXECUTABLE="$$($(BIN)/python -c 'import sys; print(sys.executable)')"
	$(RUN) cmake --build --preset sanitize
	rm -rf build/sanitize/site && mkdir -p build/sanitize/site && cp -r effdl_fast build/sanitize/site/
	rm -f build/sanitize/site/effdl_fast/_C*.so
	$(RUN) cmake --install build/sanitize --component python --prefix build/sanitize/site
	cd "$(SUITE)" && $(RUN) PYTHONPATH="$(TREE)/build/sanitize/site:$(SUITE)" EFFDL_TEST_SANITIZED=1 \
		LD_PRELOAD="$(SANITIZER_LIBS)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		$(PYTEST) -p no:cacheprovider -p no:faulthandler --capture=sys -k "$(SANITIZE_SELECT)" $(SANITIZE_TESTS)

# libFuzzer where there is a clang++ that has it, tests/fuzz/driver.cpp otherwise. libFuzzer keeps what it finds in
# build/fuzz/corpus; an input that fails is written to build/fuzz.
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
FUZZ_CXX ?= $(shell command -v clang++ || echo c++)
FUZZERS := decompress_weights huffman_decode compress_weights
fuzz: $(VENV)/.deps-dev
	$(RUN) cmake -G Ninja -S tests/fuzz -B build/fuzz -DCMAKE_CXX_COMPILER="$(FUZZ_CXX)"
	$(RUN) cmake --build build/fuzz
	cd build/fuzz && for name in $(FUZZERS); do mkdir -p corpus/$$name && ./$$name -max_total_time=$(FUZZ_SECONDS) \
		-seed=$(FUZZ_SEED) corpus/$$name "$(TREE)/tests/fuzz/corpus/$$name" "$(TREE)/tests/golden" || exit 1; done

clean:
	rm -rf build dist report effdl_fast/_C*.so $(VENV)/.installed
	find $(wildcard effdl_fast benchmarks tests tools) -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
