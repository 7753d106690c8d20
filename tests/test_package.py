"""The built artefact: metadata, contents, entry point, and what `import effdl_fast` does and does not do."""

import importlib.metadata
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import effdl_fast
from effdl_fast import _C

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(effdl_fast.__file__).resolve().parent

pytestmark = pytest.mark.wheel


def installed() -> importlib.metadata.Distribution:
    """The distribution, if effdl_fast was imported from an installation."""
    if PACKAGE.parent == ROOT:
        pytest.skip("effdl_fast comes from the source tree: no metadata")
    return importlib.metadata.distribution("effdl-fast")


def python(code: str) -> str:
    """What a fresh interpreter that imports the same effdl_fast prints."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_comes_from_the_installation_when_told_so():
    if os.environ.get("EFFDL_TEST_INSTALLED") != "1":
        pytest.skip("EFFDL_TEST_INSTALLED is not set")
    assert "site-packages" in PACKAGE.parts, f"effdl_fast was imported from {PACKAGE}"
    assert Path(_C.__file__).resolve().parent == PACKAGE


def test_one_version_everywhere():
    declared = re.search(r"project\(effdl_fast VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert declared is not None
    assert effdl_fast.__version__ == _C.build_info()["version"] == declared[1]
    assert installed().version == declared[1]


def test_metadata():
    meta = installed().metadata
    assert meta["Name"] == "effdl-fast"
    assert meta["License-Expression"] == "MIT"
    assert meta["Requires-Python"] == ">=3.10"
    assert any(line.startswith("torch>=2.11") for line in installed().requires or [])
    assert {"train", "plot", "bench", "demo", "dev"} <= set(meta.get_all("Provides-Extra") or [])


def test_contents():
    names = {str(path) for path in installed().files or []}
    for wanted in ("py.typed", "_C.pyi", "ops/exp_ga_loss.py", "nn/ga_loss.py", "benchmarks/harness.py"):
        assert f"effdl_fast/{wanted}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    packages = {name.split("/")[0] for name in names if not name.startswith("..")}
    assert {name for name in packages if not name.endswith(".dist-info")} == {"effdl_fast"}
    kinds = {Path(name).suffix for name in names}
    assert not kinds & {".cpp", ".cu", ".cuh", ".h", ".inl", ".o"}, "sources of the compiled module were packed"


def test_entry_point():
    commands = {entry.name: entry.value for entry in installed().entry_points if entry.group == "console_scripts"}
    assert commands == {"effdl": "effdl_fast.cli:main"}


def test_build_info():
    info = _C.build_info()
    assert set(info) == {"version", "compiler", "cuda", "cuda_version", "cuda_archs", "simd_levels", "sanitized"}
    assert info["compiler"]
    assert info["simd_levels"][0] == "scalar"
    assert _C.simd_level() in info["simd_levels"]
    if info["cuda"]:
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?", info["cuda_version"])
        assert info["cuda_archs"]
    else:
        assert info["cuda_version"] is None
        assert info["cuda_archs"] == []


def test_import_leaves_torch_as_it_was():
    changed = python(
        "import torch\n"
        "torch.manual_seed(5)\n"
        "def state():\n"
        "    return (torch.get_num_threads(), torch.get_num_interop_threads(), torch.is_grad_enabled(),\n"
        "            torch.get_default_dtype(), torch.random.get_rng_state().sum().item(),\n"
        "            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision())\n"
        "before = state()\n"
        "import effdl_fast\n"
        "print(before == state(), torch.cuda.is_initialized())\n"
    )
    assert changed == "True False"


def test_import_does_not_pull_in_optional_packages():
    optional = ["matplotlib", "sklearn", "scipy", "timm", "torchvision", "pandas", "typer", "tqdm", "pytest"]
    loaded = python(
        f"import sys, torch\nbefore = set(sys.modules)\nimport effdl_fast\n"
        f"print([name for name in {optional} if name in sys.modules and name not in before])"
    )
    assert loaded == "[]"


def test_import_is_quick():
    """Beside `import torch` (over a second) our own import must not be felt: 0.25 s, best of three."""
    code = "import torch, time\nstart = time.perf_counter()\nimport effdl_fast\nprint(time.perf_counter() - start)"
    seconds = []
    for _ in range(3):
        seconds.append(float(python(code)))
        if seconds[-1] < 0.25:
            return
        time.sleep(1)
    pytest.fail(f"import effdl_fast took {min(seconds):.2f} s beyond import torch")


def test_a_torch_without_the_exchange_api_is_refused_by_name():
    message = python(
        "import torch\n"
        "del torch.Tensor.__dlpack_c_exchange_api__\n"
        "try:\n"
        "    import effdl_fast\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "torch >= 2.11" in message


def test_this_torch_is_one_we_say_we_support():
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    assert (major, minor) >= (2, 11)
