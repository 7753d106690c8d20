# effdl_fast: `make` lists the targets. All of them work in one virtual environment that the first one creates.
PYTHON ?= python3
VENV ?= .venv
EFFDL_WHEEL ?=
BUILD_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
SOURCES := $(shell find $(wildcard csrc effdl_fast benchmarks) -type f ! -name '*.so' ! -name '*.pyc') \
	CMakeLists.txt pyproject.toml README.md LICENSE
CXX_SOURCES = $(shell git ls-files --cached --others --exclude-standard 'csrc/*.cpp' 'csrc/*.h' 'csrc/*.inl' 'csrc/*.cu' 'csrc/*.cuh')
INSTALLED := $(VENV)/.installed-$(if $(EFFDL_WHEEL),wheel,source)
# The environment's own package is what runs, though the source tree is the working directory.
RUN := env -u PYTHONPATH PYTHONSAFEPATH=1 PATH="$(abspath $(BIN)):$$PATH"

# Processes that a test spawns import tests.*, so that name is on the path, but the tree's effdl_fast is not.
SUITE := $(CURDIR)/build/suite

.PHONY: help demo test suite dev lint format wheel sdist sanitize bench clean distclean

help:
	@echo "make demo      train on real data with the compiled losses, benchmark the ops, write report/"
	@echo "make test      build, install into $(VENV) and run the whole test suite against the installed package"
	@echo "make dev       build the compiled module into the source tree; then: $(BIN)/python -m pytest tests/ops"
	@echo "make lint      ruff, clang-format and mypy, changing nothing;  make format  lets the first two mend"
	@echo "make bench     benchmark every op against PyTorch"
	@echo "make sanitize  op tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make wheel     manylinux wheel into dist/;  make sdist  source archive into dist/"
	@echo "make clean     remove what was built;  make distclean  remove $(VENV) too"
	@echo
	@echo "PYTHON=python3.12 chooses the interpreter of a new $(VENV), PYTEST_ARGS='-k exp_ga -x' the tests,"
	@echo "EFFDL_WHEEL=dist/NAME.whl tests a finished wheel, BUILD_ARGS='-C cmake.define.EFFDL_WITH_CUDA=OFF' skips CUDA."

demo: $(INSTALLED)
	$(RUN) effdl demo $(DEMO_ARGS)

test: $(INSTALLED) suite
	$(RUN) PYTHONPATH="$(SUITE)" EFFDL_TEST_INSTALLED=1 pytest $(PYTEST_ARGS)

suite:
	@mkdir -p $(SUITE) && ln -sfn ../../tests $(SUITE)/tests

bench: $(INSTALLED)
	$(RUN) effdl bench $(BENCH_ARGS)

# Everything but the package itself.
$(VENV)/.deps: pyproject.toml tools/requirements.py tools/check_machine.py
	$(PYTHON) tools/check_machine.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python tools/requirements.py build dev > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --prefer-binary -q -r $(VENV)/requirements.txt
	touch $@

# Without isolation, so that CMake finds the same paths again and rebuilds only what changed.
$(VENV)/.installed-source: $(VENV)/.deps $(SOURCES)
	$(RUN) pip install --disable-pip-version-check -q --no-deps --no-build-isolation --force-reinstall \
		-C build-dir=build/installed $(BUILD_ARGS) .
	rm -f $(VENV)/.installed-wheel
	touch $@

$(VENV)/.installed-wheel: $(VENV)/.deps $(EFFDL_WHEEL)
	$(RUN) pip install --disable-pip-version-check -q --no-deps --force-reinstall $(EFFDL_WHEEL)
	rm -f $(VENV)/.installed-source
	touch $@

dev: $(VENV)/.deps
	$(RUN) cmake --preset dev -DPython_EXECUTABLE="$(abspath $(BIN)/python)" -Dpybind11_DIR="$$($(BIN)/pybind11-config --cmakedir)"
	$(RUN) cmake --build --preset dev

lint: $(VENV)/.deps
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) clang-format --dry-run -Werror $(CXX_SOURCES)
	$(RUN) mypy

format: $(VENV)/.deps
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) clang-format -i $(CXX_SOURCES)

# Isolated, as a user's pip builds it, in a fresh folder.
wheel: $(VENV)/.deps
	rm -rf build/wheel
	$(RUN) python -m build --wheel -C build-dir=build/wheel/cmake $(BUILD_ARGS) --outdir build/wheel .
	$(RUN) auditwheel repair --wheel-dir dist build/wheel/*.whl
	$(RUN) auditwheel show dist/*.whl

sdist: $(VENV)/.deps
	$(RUN) python -m build --sdist --outdir dist .

SANITIZER_LIBS = $(shell for lib in libasan.so libubsan.so libstdc++.so; do $${CXX:-c++} -print-file-name=$$lib; done)
SANITIZE_TESTS ?= $(wildcard tests/ops tests/test_binding.py)
# Left out: what starts a compiler or other processes, and repetitions that touch no other memory.
SANITIZE_SELECT ?= not compile and not export and not opcheck and not gloo and not spawn and not thread_counts \
	and not left_alone and not without_gradient and not levels_agree and not cross_entropy and not fake_tensors \
	and not two_billion and not gradcheck

# The module is built apart from the tree and put beside a copy of the Python sources. Leaks are not looked for: Python
# and torch keep memory until the end. torch itself is not instrumented.
sanitize: $(VENV)/.deps suite
	$(RUN) cmake --preset sanitize -DPython_EXECUTABLE="$(abspath $(BIN)/python)" -Dpybind11_DIR="$$($(BIN)/pybind11-config --cmakedir)"
	$(RUN) cmake --build --preset sanitize
	rm -rf build/sanitize/site && mkdir -p build/sanitize/site && cp -r effdl_fast build/sanitize/site/
	rm -f build/sanitize/site/effdl_fast/_C*.so
	$(RUN) cmake --install build/sanitize --component python --prefix build/sanitize/site
	$(RUN) PYTHONPATH="$(CURDIR)/build/sanitize/site:$(SUITE)" LD_PRELOAD="$(SANITIZER_LIBS)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		HYPOTHESIS_MAX_EXAMPLES=20 python -m pytest -p no:cacheprovider -p no:faulthandler --capture=sys -k "$(SANITIZE_SELECT)" $(SANITIZE_TESTS)

clean:
	rm -rf build dist report effdl_fast/_C*.so $(VENV)/.installed-*
	find $(wildcard effdl_fast benchmarks tests tools) -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
