"""DistributedDataParallel with compressed gradients, against plain DDP, in two and three gloo processes."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from effdl_fast import compress as C

from ._gloo import assert_equal_everywhere, run

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")


def _model(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(30, 200), torch.nn.Tanh(), torch.nn.Linear(200, 300), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(300, 10)).to(dtype)


def _pair(state: C.CompressState, dtype: torch.dtype = torch.float32, **options) -> tuple:
    """Plain DDP and DDP with the hook, of equal models."""
    model = _model(dtype)
    plain, ours = (DistributedDataParallel(copy.deepcopy(model), **options) for _ in range(2))
    ours.register_comm_hook(state, C.ddp_comm_hook)
    return plain, ours


def _batch(rank: int, step: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randn(16, 30, generator=g).to(dtype), torch.randint(10, (16,), generator=g)


def _gradients(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    model.zero_grad()
    torch.nn.functional.cross_entropy(model(batch[0]).float(), batch[1]).backward()
    return [p.grad for p in model.parameters()]


def _gradients_are_those_of_ddp(rank: int, ranks: int) -> None:
    for way in ("gather", "scatter"):
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            for cap in (25, 0.05):  # one bucket, and several; the first step's are other ones than the next steps'
                state = C.CompressState(exchange=way, error_feedback=False)
                plain, ours = _pair(state, dtype, bucket_cap_mb=cap)
                for step in range(3):
                    batch = _batch(rank, step, dtype)
                    expected, got = _gradients(plain, batch), _gradients(ours, batch)
                    assert_equal_everywhere(*got)
                    for e, g in zip(expected, got, strict=True):
                        # 16-bit DDP adds up in 16 bits; ours differs by its own rounding besides the steps.
                        worst = float(e.abs().max()) * (1 / 16 + 4 * torch.finfo(dtype).eps)
                        assert float((e.double() - g.double()).abs().max()) <= worst, (way, dtype, cap, step)
                        if g.numel() < 1024 and dtype is not torch.bfloat16:
                            torch.testing.assert_close(g, e, rtol=1e-5, atol=1e-7)
                assert state.traffic.elements == 3 * sum(p.numel() for p in ours.parameters())
                assert state.traffic.original_bytes == dtype.itemsize * state.traffic.elements
                assert state.traffic.ratio > (0.75 if dtype is torch.bfloat16 else 1.5)


def _error_feedback(rank: int, ranks: int) -> None:
    """Of the same gradient again and again, the sum stays near the exact one; without feedback it drifts."""
    for way in ("gather", "scatter"):
        drift = {}
        for feedback in (True, False):
            state = C.CompressState(exchange=way, bits=2, error_feedback=feedback)
            plain, ours = _pair(state)
            exact = [20 * g for g in _gradients(plain, _batch(rank, 0))]
            total = [torch.zeros_like(g) for g in exact]
            for _ in range(20):
                for t, g in zip(total, _gradients(ours, _batch(rank, 0)), strict=True):
                    t += g
            large = [i for i, t in enumerate(total) if t.numel() >= 1024]
            drift[feedback] = max(float((total[i] - exact[i]).abs().max() / exact[i].abs().max()) for i in large)
        assert drift[True] < 0.15 and drift[False] > 2 * drift[True], drift


def _training(rank: int, ranks: int) -> None:
    """Learning with compressed gradients goes as without."""
    state = C.CompressState()
    losses = []
    for model in _pair(state):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
        for step in range(80):
            x, _ = _batch(rank, step)
            loss = torch.nn.functional.cross_entropy(model(x), x[:, :10].argmax(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
        assert_equal_everywhere(*model.parameters())
    assert losses[1] < 1.25 * losses[0] + 0.05 and losses[1] < 1.5, losses


def _nonfinite(rank: int, ranks: int) -> None:
    """Infinity comes through, as gradient scalers need it to, and leaves nothing behind in the errors kept."""
    state = C.CompressState()
    _, ours = _pair(state)
    x, y = _batch(rank, 0)
    bad = x.clone()
    bad[0, 0] = float("inf") if rank == 0 else 1.0
    assert any(not bool(g.isfinite().all()) for g in _gradients(ours, (bad, y)))
    for step in range(2):
        got = _gradients(ours, _batch(rank, step))
        assert all(bool(g.isfinite().all()) for g in got)
        assert_equal_everywhere(*got)
    strict = C.CompressState(nonfinite="error")
    _, ours = _pair(strict)
    with pytest.raises(ValueError, match="holds NaN or infinity" if rank == 0 else "rank 0 could not compress"):
        _gradients(ours, (bad, y))


def _other_uses(rank: int, ranks: int) -> None:
    """no_sync, find_unused_parameters, gradients as views of the buckets, traffic counted anew."""
    state = C.CompressState()
    plain, ours = _pair(state, find_unused_parameters=True, gradient_as_bucket_view=True)
    with ours.no_sync():
        _gradients(ours, _batch(rank, 0))
    assert state.traffic.sent_bytes == 0
    _gradients(ours, _batch(rank, 0))
    first = state.traffic
    assert first.sent_bytes > 0 and first.original_bytes == sum(4 * p.numel() for p in ours.parameters())
    state.traffic = C.Traffic()
    got, expected = _gradients(ours, _batch(rank, 1)), _gradients(plain, _batch(rank, 1))
    assert state.traffic.elements == first.elements and state.traffic.ranks == ranks
    for g, e in zip(got, expected, strict=True):
        assert float((g - e).abs().max()) <= float(e.abs().max()) / 8
    with pytest.raises(ValueError, match="CompressState: exchange must be 'auto', 'gather' or 'scatter', got 'x'"):
        C.CompressState(exchange="x")
    with pytest.raises(ValueError, match="CompressState: bits must be from 1 to 16, got 0"):
        C.CompressState(bits=0)
    with pytest.raises(ValueError, match="CompressState: min_elements must be a whole number from 0, got -1"):
        C.CompressState(min_elements=-1)
    alone = [dist.new_group([r]) for r in range(ranks)][rank]
    model = DistributedDataParallel(_model(), process_group=alone)
    model.register_comm_hook(C.CompressState(alone), C.ddp_comm_hook)
    torch.testing.assert_close(_gradients(model, _batch(rank, 0)), _gradients(_model(), _batch(rank, 0)))


def _everything(rank: int, ranks: int) -> None:
    for part in (_gradients_are_those_of_ddp, _error_feedback, _training, _nonfinite, _other_uses):
        try:
            part(rank, ranks)
        except BaseException as error:
            raise AssertionError(f"rank {rank}, {part.__name__}: {error}") from error


@pytest.mark.parametrize("ranks", [2, 3])
def test_ddp_comm_hook(ranks: int, tmp_path: Path) -> None:
    run(_everything, ranks, tmp_path)
