"""benchmarks/distributed: its figures, and one short run where network namespaces can be made."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

import effdl_fast

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")

PACKAGE = Path(effdl_fast.__file__).resolve().parent
INSTALLED = importlib.util.find_spec("effdl_fast.benchmarks") is not None
NAME = "effdl_fast.benchmarks.distributed" if INSTALLED else "benchmarks.distributed"
ROOT = PACKAGE.parent  # of the tree, where `benchmarks` lies beside the package, or of site-packages


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module(f"{NAME}.__main__")
    finally:
        sys.path.remove(str(ROOT))


def rows(plain, ours):
    facts = {"p10": 0.01, "p90": 0.02, "rounds": 3, "relative_error": 1e-3}
    return {
        "float32 all-reduce": {"seconds": plain, "sent_bytes": 8000.0, **facts},
        "ours, weights, c=6": {"seconds": ours, "sent_bytes": 1000.0, **facts},
    }


def test_the_table_says_how_much_smaller_and_quicker(program):
    text = program.table(100, rows(0.1, 0.02)).to_text()
    (line,) = [line for line in text.splitlines() if line.startswith("ours")]
    assert "8.00" in line and "5.00" in line and "20.0" in line and "below" not in line
    assert "below 7x or 4x" in program.table(100, rows(0.1, 0.03)).to_text()
    assert "below 7x or 4x" not in program.table(1000, rows(0.1, 0.03)).to_text()


def test_break_even(program):
    name = "ours, weights, c=6"
    links = {"100": rows(0.8, 0.1), "1000": rows(0.2, 0.1), "10000": rows(0.1, 0.2)}
    assert program.break_even(links, name) == "quicker up to about 3162 Mb/s (measured: 1000 quicker, 10000 not)"
    assert program.break_even({k: links[k] for k in ("1000", "100")}, name) == "quicker at all of 100 to 1000 Mb/s"
    assert program.break_even({"10000": links["10000"]}, name) == "never quicker"
    assert program.break_even({"1": {}}, name) == "not compared"


def test_no_root_is_said_and_no_error(program, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["distributed"])
    assert program.main() == 0
    assert capsys.readouterr().out.startswith("skipped: network namespaces need ")


@pytest.mark.slow
def test_a_short_run(program, tmp_path):
    pytest.importorskip("sklearn")
    if reason := program.links.why_not():
        pytest.skip(reason)
    exchanges = ["float32 all-reduce", "ours, weights, c=6", "ours, differences, c=4"]
    command = [sys.executable, "-m", NAME, "--epochs", "2", "--links", "20", "1000", "--seconds", "0.2"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--only", *exchanges, "--out", str(tmp_path)],
        env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    slow, fast = result["links"]["20"], result["links"]["1000"]
    assert list(slow) == list(fast) == exchanges
    plain = slow["float32 all-reduce"]
    # All elements once each way, and no more than a few percent of headers; the link's speed is what was asked for.
    assert 4 * result["elements"] < plain["sent_bytes"] < 4.5 * result["elements"]
    assert (
        plain["seconds"] > 0.8 * 8 * plain["sent_bytes"] / 20e6
        and plain["seconds"] > 2 * fast["float32 all-reduce"]["seconds"]
    )
    assert plain["sent_bytes"] > 2.5 * slow["ours, weights, c=6"]["sent_bytes"]
    assert plain["relative_error"] < 1e-6 < slow["ours, weights, c=6"]["relative_error"] < 0.05
    assert not [line for line in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout.splitlines()
                if line.startswith("effdl-")]  # fmt: skip
