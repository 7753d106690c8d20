"""What every op on neighbours must do. Imported by the test module of each of them."""

import pytest
import torch

from effdl_fast.ops._neighbours import LABELS

from ._weights import (  # noqa: F401
    first,
    one_thread,
    test_compile_fullgraph,
    test_dispatch_modes_see_the_op,
    test_fake_tensors_have_the_shapes_and_dtypes_of_real_ones,
    test_forward_mode_runs_the_reference,
    test_opcheck,
    test_subclasses_of_tensor,
)

ARITHMETICS = ("automatic", "float32", "bfloat16")


def wrong_points(op, name, call):
    """`call(x)` refuses what features cannot be, in words that name them."""
    with pytest.raises(TypeError, match=f"{op.name}: {name} must be a torch.Tensor, got list"):
        call([[1.0]])
    for dtype in (torch.int64, torch.int32, torch.bool, torch.complex64):
        message = f"{op.name}: {name} must be float32, float64, float16, bfloat16 or uint8, got {str(dtype)[6:]}"
        with pytest.raises(TypeError, match=message):
            call(torch.zeros(4, 2).to(dtype))
    for shape in ((4,), (4, 2, 1), ()):
        with pytest.raises(ValueError, match=f"{op.name}: {name} must have two dimensions"):
            call(torch.zeros(shape))
    with pytest.raises(TypeError, match=f"{op.name}: {name} must be a dense tensor"):
        call(torch.zeros(4, 2).to_sparse())


def nonfinite_points(op, backend, name, call):
    """`call(x)` names the first row that holds NaN or infinity."""
    for dtype in backend.dtypes:
        for bad in (float("nan"), float("inf"), -float("inf")):
            for n, d, row in ((1, 1, 0), (300, 17, 211), (300, 17, 0), (4000, 30, 3999)):
                x = torch.zeros(n, d, dtype=dtype, device=backend.device)
                x[row, d - 1] = bad
                x[n - 1, 0] = bad
                with pytest.raises(ValueError, match=f"{op.name}: row {row} of {name} holds NaN or infinity"):
                    call(x)


class TakesLabels:
    """Subclassed as TestLabels by the modules of ops whose arguments are features and labels."""

    arguments = ()

    def call(self, op, x, y, **options):
        return op.run(x, y, *self.arguments, **options)

    def test_wrong_features(self, op):
        for function in (op.run, op.ref):
            wrong_points(op, "features", lambda x, f=function: f(x, torch.zeros(4).long(), *self.arguments))

    def test_nonfinite_features(self, op, backend):
        nonfinite_points(op, backend, "features", lambda x: self.call(op, x, torch.arange(len(x), device=x.device) % 3))
        with pytest.raises(ValueError, match=f"({op.name}|redundancy_depth): row 1 of features"):
            op.ref(torch.tensor([[1.0], [torch.nan]]), torch.zeros(2).long(), *self.arguments)

    def test_wrong_labels(self, op):
        x = torch.zeros(4, 2)
        with pytest.raises(TypeError, match=f"{op.name}: labels must be a torch.Tensor, got list"):
            self.call(op, x, [0, 1, 2, 3])
        for dtype in (torch.float32, torch.complex64, torch.float16):
            with pytest.raises(TypeError, match=f"{op.name}: labels must be integers, got {str(dtype)[6:]}"):
                self.call(op, x, torch.zeros(4).to(dtype))
        for shape in ((3,), (4, 1), ()):
            with pytest.raises(ValueError, match=rf"{op.name}: labels must have shape \(4,\)"):
                self.call(op, x, torch.zeros(shape).long())

    def test_labels_are_names_only(self, op, backend):
        """Any values, in any order, at both ends of their range."""
        g = torch.Generator().manual_seed(0)
        x, y = torch.randn(300, 6, generator=g), torch.randint(3, (300,), generator=g)
        x = x.to(backend.device)
        wanted = self.call(op, x, y.to(backend.device))
        for dtype in LABELS[:-1]:
            info = torch.iinfo(dtype)
            names = torch.tensor([info.max, info.min, 5], dtype=dtype)
            named = torch.stack([names[i] for i in y.tolist()])  # unsigned tensors cannot be indexed
            assert torch.equal(self.call(op, x, named.to(backend.device)), wanted)

    def test_metric(self, op):
        for function in (op.run, op.ref):
            with pytest.raises(ValueError, match="metric must be one of l2, cosine, inner_product, got 'L1'"):
                function(torch.zeros(2, 2), torch.zeros(2).long(), *self.arguments, metric="L1")

    def test_workspace_changes_nothing(self, op, backend):
        g = torch.Generator().manual_seed(1)
        x, y = torch.randn(1500, 400, generator=g), torch.randint(4, (1500,), generator=g)
        x[:, :4] += 5 * torch.nn.functional.one_hot(y, 4)
        x, y = x.to(backend.device), y.to(backend.device)
        wanted = self.call(op, x, y)
        assert torch.equal(self.call(op, x, y, max_workspace=1 << 20), wanted)
        assert torch.equal(self.call(op, x, y, max_workspace=3 << 20), wanted)

    def test_workspace_limits(self, op):
        for bad in (0, -1, (1 << 20) - 1):
            with pytest.raises(ValueError, match="max_workspace must be from 1048576"):
                self.call(op, torch.zeros(2, 2), torch.zeros(2).long(), max_workspace=bad)
        with pytest.raises(TypeError, match="max_workspace must be an integer"):
            self.call(op, torch.zeros(2, 2), torch.zeros(2).long(), max_workspace=2.5e6)
