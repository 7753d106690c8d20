"""The examples of docs/filter.md run as they stand, and do what the text around them says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("numpy")
pytest.importorskip("sklearn", minversion="1.6")

import effdl_fast as ef

PAGE = Path(__file__).resolve().parents[1] / "docs" / "filter.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the tests run without the source tree")


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def test_examples(capsys):
    torch.manual_seed(0)
    names: dict = {}
    found = blocks()
    assert len(found) == 6
    before, sampler, loop, layers, by_loss, sklearn = found

    exec(before, names)
    n, kept = len(names["x"]), names["kept"]
    assert 0 < len(kept) < n == 1797
    assert torch.equal((names["depth"] < 5).nonzero().squeeze(1), kept) and names["curve"][4] == len(kept) / n

    exec(sampler, names)
    assert len(names["sampler"]) > len(kept)

    exec(loop, names)
    x, y = names["dataset"].tensors
    accuracy = float((names["model"](x).argmax(1) == y).double().mean())
    assert accuracy > 0.9, "it learns from what is selected"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[1] == "epoch 1, input: 0 of 1797 left out (0%)"
    counts = names["online"].statistics()
    assert [c.dropped == 0 for c in counts] == [True] * 2 + [False] * 4
    assert all(0.3 < c.share <= 0.6 for c in counts[2:])

    exec(layers, names)
    features = names["features"]
    assert features.shape == (900, 50) and 360 <= len(names["selected"]) < 900
    assert set(ef.metrics.k_filter(features, names["labels"], 10).tolist()) <= set(names["selected"].tolist())

    exec(by_loss, names)
    assert len(names["selected"]) == 675 and torch.equal(names["selected"], names["same"])

    exec(sklearn, names)
    assert names["sampler"].sample_indices_.tolist() == kept.tolist() and len(names["x_kept"]) == len(kept)
