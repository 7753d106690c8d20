"""What every test gets: the op under test, its cases on every backend, and the library's global state put back.

A test module of an op sets `OP = "<op>"`. Its tests then ask for
  op        the op, as a namespace: name, run, ref
  case      each of the op's cases (effdl_fast/testing/cases/<op>.py) that is meant for tests
  tiny      each case that is small enough for finite differences
  backend   each backend that can run here and has kernels of OP (see effdl_fast/testing/backends.py)
  dtype     with backend: each dtype that this backend's kernels take
"""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import effdl_fast as ef
from effdl_fast import _C
from effdl_fast.testing import backends as all_backends
from effdl_fast.testing import cases as all_cases

BACKENDS = all_backends.backends()

# A bare GPU machine may have torch without numpy.
collect_ignore = [] if importlib.util.find_spec("numpy") else ["test_simd.py"]


def pytest_report_header() -> list[str]:
    line = f"effdl_fast {ef.__version__} from {Path(ef.__file__).parent}, backends: {', '.join(map(str, BACKENDS))}"
    return [line, *(f"not collected, numpy is not installed: {name}" for name in collect_ignore)]


def pytest_sessionstart() -> None:
    if os.environ.get("EFFDL_TEST_SANITIZED") == "1" and not _C.build_info()["sanitized"]:
        pytest.exit(f"EFFDL_TEST_SANITIZED is set, but {_C.__file__} has no sanitizers", returncode=1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    if "case" in names or "tiny" in names:
        name = "case" if "case" in names else "tiny"
        found = [c for c in all_cases.load(metafunc.module.OP) if c.test and (name == "case" or c.gradcheck)]
        metafunc.parametrize(name, found, ids=str)
    if "backend" in names:
        backends = all_backends.backends(getattr(metafunc.module, "OP", None))
        if "dtype" in names:
            pairs = [(b, d) for b in backends for d in b.dtypes]
            params = [pytest.param(b, d, id=f"{b}-{str(d)[6:]}", marks=_marks(b)) for b, d in pairs]
            metafunc.parametrize(("backend", "dtype"), params)
        else:
            metafunc.parametrize("backend", [pytest.param(b, id=str(b), marks=_marks(b)) for b in backends])


def _marks(backend: all_backends.Backend) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.cuda,) if backend.device.type == "cuda" else ()


@pytest.fixture
def op(request: pytest.FixtureRequest) -> SimpleNamespace:
    name = request.module.OP
    return SimpleNamespace(name=name, run=getattr(ef.ops, name), ref=getattr(ef.ops, f"{name}_ref"))


@pytest.fixture(autouse=True)
def _global_state(request: pytest.FixtureRequest):
    """No test leaves another SIMD level, thread count or grad mode behind; the library must not either.

    A test with a backend starts on that backend's SIMD level; `forced` adds the proof.
    """
    level, threads, grad = _C.simd_level(), torch.get_num_threads(), torch.is_grad_enabled()
    if "backend" in request.fixturenames and (backend := request.getfixturevalue("backend")).simd:
        _C.set_simd_level(backend.simd)
    yield
    left = torch.is_grad_enabled()
    _C.set_simd_level(level)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(grad)
    assert left == grad, "the test left grad mode changed"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of larger data sets: EFFDL_DATA, else shared/data beside the checkout."""
    folder = Path(os.environ.get("EFFDL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}; EFFDL_DATA may name the folder of larger data sets")
    return folder
