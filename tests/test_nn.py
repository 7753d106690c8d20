"""The loss modules: same results as the ops, tensors move with the module, and they work under DDP."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import effdl_fast as ef

MODULES = [(ef.nn.ExpGALoss, "exp_ga_loss"), (ef.nn.Pow3GALoss, "pow3_ga_loss"), (ef.nn.LinearGALoss, "linear_ga_loss")]


@pytest.fixture(params=MODULES, ids=[op for _, op in MODULES])
def pair(request):
    cls, op = request.param
    return cls, getattr(ef.ops, op)


def test_arguments_and_defaults_are_those_of_the_op(pair):
    cls, op = pair
    ours = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    expected = {n: p.default for n, p in inspect.signature(op).parameters.items() if n not in ("logits", "target")}
    assert ours == expected


def test_same_result_as_the_op(pair):
    cls, op = pair
    x, target = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    options = {
        "weight": torch.rand(5),
        "ignore_index": 3,
        "reduction": "none",
        "target_value": 2.0,
        "negative_value": -1.0,
    }
    if cls is not ef.nn.LinearGALoss:
        options["alpha"] = torch.rand(5) + 0.1
    if cls is ef.nn.Pow3GALoss:
        options["beta"] = 0.4
    if cls is ef.nn.ExpGALoss:
        options["clamp"] = 1.0
    results = []
    for function in (cls(**options), lambda x, t: op(x, t, **options)):
        leaf = x.clone().requires_grad_()
        loss = function(leaf, target)
        loss.sum().backward()
        results.append((loss.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_inplace_is_passed_on(pair):
    cls, _ = pair
    x = torch.randn(3, 4)
    before = x.clone()
    cls(inplace=True)(x, torch.arange(3))
    assert not torch.equal(x, before)


def test_tensors_are_buffers():
    module = ef.nn.ExpGALoss(alpha=torch.ones(4), weight=torch.ones(4)).double()
    assert module.alpha.dtype == module.weight.dtype == torch.float64
    assert set(module.state_dict()) == {"alpha", "weight"}
    assert not list(module.parameters())
    assert "alpha=(4,)" in repr(module) and "reduction='mean'" in repr(module)


def test_learns(pair):
    """A linear classifier on separable data ends with every sample right."""
    cls, _ = pair
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    target = x[:, :3].argmax(1)
    model = torch.nn.Linear(4, 3)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    criterion = cls(target_value=1.0) if cls is not ef.nn.Pow3GALoss else cls(alpha=1.0, target_value=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        criterion(model(x), target).backward()
        optimiser.step()
    assert (model(x).argmax(1) == target).float().mean() > 0.9


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_train_as_one(tmp_path):
    """DistributedDataParallel over gloo: the gradient averaged over two ranks is that of the whole batch."""
    worker = Path(__file__).parent / "workers" / "ddp_ga_loss.py"
    ranks = [
        subprocess.Popen([sys.executable, str(worker), str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=180)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(outputs)
