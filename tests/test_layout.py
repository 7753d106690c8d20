"""The naming law: one stem per op, the same in every folder, and imports that point down.

These tests read the checkout that holds this file, whether or not the package under test is an installed wheel.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

import effdl_fast as ef
from effdl_fast import _C

TREE = Path(__file__).resolve().parents[1]
PACKAGE, CSRC = TREE / "effdl_fast", TREE / "csrc"
OPS = sorted(p.stem for p in (PACKAGE / "ops").glob("*.py") if not p.stem.startswith("_"))

# Ops without kernels of their own, and the reason.
COMPOSED = {
    "linear_exp_ga_loss": "matrix products by torch around the kernels of exp_ga_loss, a chunk of classes at a time",
    "k_redundant": "redundancy_depth's kernels, told that one k is asked for",
}
# Ops without a file per SIMD level, and the reason.
SERIAL = {
    "huffman_lengths": "Huffman's algorithm and package-merge take one symbol after another",
    "entropy": "quantizes and counts by the kernels of quantize and histogram, then adds a few numbers",
    "compress_weights": "calls the kernels of the steps one after another",
    "decompress_weights": "calls the kernels of the steps one after another",
    "redundancy_depth": "its SIMD levels are those of common/pair_tile, which it shares with knn",
    "mlp_forward": "its SIMD levels are those of common/dense_tile, which it shares with mlp_moments",
    "mlp_moments": "its SIMD levels are those of common/dense_tile, which it shares with mlp_forward",
    "ridge_solve": "a few thousand multiply-adds in loops that the compiler turns into vectors",
    "knn": "its SIMD levels are those of common/pair_tile, which it shares with redundancy_depth",
}
# Ops without CUDA kernels of their own, and the reason.
COMPOSED_ON_CUDA = {
    "mlp_forward": "matrix products by torch, which has tensor cores, a block of rows at a time",
    "mlp_moments": "matrix products by torch, which has tensor cores, a block of rows at a time",
}
# Files that may be longer than the limit, and the reason.
LINES, LONG_FILES = 500, {}
# What is not source: generated, downloaded or built.
SKIPPED = {".git", "build", "dist", "wheelhouse", "report", "results", "data", "__pycache__", ".venv", ".hypothesis",
           ".pytest_cache", ".ruff_cache", ".mypy_cache", ".benchmarks"}  # fmt: skip
TEXT = {".py", ".pyi", ".cpp", ".h", ".inl", ".cu", ".cuh", ".md", ".toml", ".txt", ".sh", ".json", ".yml", ".yaml",
        ".cfg", ".cmake", ""}  # fmt: skip


def sources(*suffixes):
    for path in sorted(TREE.rglob("*")):
        parts = path.relative_to(TREE).parts
        if any(p in SKIPPED or p.startswith(".venv") or p.endswith(".egg-info") for p in parts) or not path.is_file():
            continue
        if path.suffix in suffixes:
            yield path


def test_there_are_ops():
    assert {"exp_ga_loss", "pow3_ga_loss", "linear_ga_loss"} <= set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_its_file_in_every_folder(op):
    expected = [
        PACKAGE / "testing" / "cases" / f"{op}.py",
        TREE / "tests" / "ops" / f"test_{op}.py",
        TREE / "benchmarks" / "ops" / f"bench_{op}.py",
        TREE / "docs" / "ops" / f"{op}.md",
    ]
    if op not in COMPOSED:
        levels = [] if op in SERIAL else [f"{op}_avx2.cpp", f"{op}_avx512.cpp"]
        cuda = [] if op in COMPOSED_ON_CUDA else [f"{op}_cuda.cu"]
        names = [f"{op}.h", f"{op}_cpu.cpp", *levels, *cuda, f"{op}_bind.cpp"]
        expected += [CSRC / op / name for name in names]
    missing = [str(p.relative_to(TREE)) for p in expected if not p.is_file()]
    assert not missing, f"{op} lacks {missing}"
    assert op not in COMPOSED or not (CSRC / op).exists(), f"{op} has kernels: take it off COMPOSED"
    assert op not in SERIAL or not list((CSRC / op).glob("*_avx*")), f"{op} has SIMD levels: take it off SERIAL"
    assert op not in COMPOSED_ON_CUDA or not list((CSRC / op).glob("*.cu")), f"{op} has CUDA kernels"


def test_every_folder_holds_only_known_stems():
    assert {p.name for p in CSRC.iterdir() if p.is_dir()} - {"common"} <= set(OPS)
    folders = [
        (TREE / "tests" / "ops", r"test_(.+)\.py"),
        (TREE / "benchmarks" / "ops", r"bench_(.+)\.py"),
        (TREE / "docs" / "ops", r"(.+)\.md"),
        (PACKAGE / "testing" / "cases", r"([^_].*)\.py"),
    ]
    for folder, pattern in folders:
        stems = {m.group(1) for p in folder.iterdir() if (m := re.fullmatch(pattern, p.name))}
        assert stems <= set(OPS), f"{folder.relative_to(TREE)}: {sorted(stems - set(OPS))} name no op"
    for op in set(OPS) - set(COMPOSED):
        strangers = [p.name for p in (CSRC / op).iterdir() if not p.name.startswith(op)]
        assert not strangers, f"csrc/{op}: {strangers}"


@pytest.mark.parametrize("op", OPS)
def test_an_op_and_its_reference_have_equal_signatures(op):
    assert {op, f"{op}_ref"} <= set(ef.ops.__all__), f"effdl_fast.ops does not export {op} and {op}_ref"
    run, ref = inspect.signature(getattr(ef.ops, op)), inspect.signature(getattr(ef.ops, f"{op}_ref"))
    assert run == ref
    assert inspect.getdoc(getattr(ef.ops, op)), f"{op} has no docstring"


def test_the_module_root_is_a_table_of_contents():
    root = (CSRC / "module.cpp").read_text()
    assert len(root.splitlines()) < 60
    for op in set(OPS) - set(COMPOSED):
        assert f"bind_{op}(m);" in root


def test_top_level():
    files = "pyproject.toml CMakeLists.txt README.md CHANGELOG.md CONTRIBUTING.md Makefile LICENSE"
    expected = [*files.split(), "csrc", "effdl_fast", "benchmarks", "tests", "docs"]
    assert not [name for name in expected if not (TREE / name).exists()]


# ---- imports ----

# A file may import from lower layers and its own folder only.
ORDER = [("_C", "errors", "files"), ("ops",), ("nn", "compress", "metrics", "solvers", "data"), ("sklearn",),
         ("train", "reproduce"), ("demo", "filter", "fit", "testing"), ("cli",)]  # fmt: skip
LAYERS = {name: layer for layer, names in enumerate(ORDER) for name in names}


def _imported(path):
    """effdl_fast modules that a file imports at any depth, as their first component below the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "effdl_fast":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("effdl_fast."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("effdl_fast."))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer == "__init__":
        return
    assert layer in LAYERS, f"give {layer} a place among LAYERS"
    for other in _imported(path):
        if other in LAYERS and other != layer:
            assert LAYERS[other] < LAYERS[layer], f"{path.name} ({layer}) imports {other}"


def test_the_library_does_not_import_its_tests_or_benchmarks():
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        assert "testing" not in set(_imported(path)), path


# ---- text of the tree ----


def test_no_file_is_too_long():
    long = {}
    for path in sources(".py", ".pyi", ".cpp", ".h", ".inl", ".cu", ".cuh"):
        lines = len(path.read_text().splitlines())
        name = str(path.relative_to(TREE))
        if lines > LINES and name not in LONG_FILES:
            long[name] = lines
    assert not long


def test_kernels_never_see_the_framework():
    for path in [
        *CSRC.rglob("*.cpp"),
        *CSRC.rglob("*.h"),
        *CSRC.rglob("*.cu"),
        *CSRC.rglob("*.cuh"),
        *CSRC.rglob("*.inl"),
    ]:
        text = path.read_text()
        assert not re.search(r'#include\s*[<"](torch|ATen|c10|caffe2)/', text), path
        if path.name.endswith("_bind.cpp") or path.parent == CSRC or path.parent.name == "common":
            continue
        assert "pybind11" not in text or path.name.endswith("_bind.h"), f"{path.name}: only *_bind.cpp knows Python"


def test_no_shared_inline_code_in_per_level_files():
    """An inline function of the standard library compiled for AVX-512 may be the copy that an old CPU runs."""
    for path in [
        *CSRC.rglob("*_avx*.cpp"),
        *CSRC.rglob("*_body.inl"),
        *CSRC.rglob("simd_avx*.h"),
        *CSRC.rglob("simd_*.inl"),
    ]:
        code = re.sub(r"//.*", "", path.read_text())
        assert "std::" not in code, path
        for header in re.findall(r"#include\s*<([^>]+)>", code):
            assert header.endswith(".h"), f"{path.name} includes <{header}>"


def test_no_path_of_somebodys_machine():
    pattern = re.compile(r"(?<![\w.])/(?:" + "|".join(["home", "work", "Users", "root"]) + r")/\w")
    found = []
    for path in sources(*TEXT):
        text = path.read_text(errors="ignore")
        if "\0" not in text and (m := pattern.search(text)):
            found.append(f"{path.relative_to(TREE)}: {m.group()}")
    assert not found


def test_the_stub_lists_what_the_module_has():
    text = (PACKAGE / "_C.pyi").read_text()
    tree = ast.parse(text)
    stub = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    stub |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    if not _C.build_info()["cuda"]:
        stub -= set(re.findall(r"^def (\w+)\(.*# CUDA builds only$", text, re.M))
    assert stub == {n for n in dir(_C) if not n.startswith("__")}


def test_the_readme_lists_what_there_is():
    text = (TREE / "README.md").read_text()
    for name in (*OPS, *ef.nn.__all__):
        assert f"`{name}`" in text, f"README.md does not name {name}"
    for op in OPS:
        assert f"(docs/ops/{op}.md)" in text
    for command in re.findall(r"`make ([a-z-]+)", text) + re.findall(r"\$ make ([a-z-]+)", text):
        assert re.search(rf"^[\w -]*\b{command}\b[\w -]*:", (TREE / "Makefile").read_text(), re.M), f"make {command}"
