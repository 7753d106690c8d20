"""Samples, loaders and comparisons of the tests of PlatonicMLP."""

import torch

F64 = torch.float64


def blobs(m=400, d=6, classes=4, seed=0, dtype=F64):
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=g, dtype=F64) * 1.5
    y = torch.randint(classes, (m,), generator=g)
    return (centres[y] + torch.randn(m, d, generator=g, dtype=F64)).to(dtype), y


def values(m=500, d=3, seed=0, dtype=F64):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(m, d, generator=g, dtype=F64)
    return x.to(dtype), torch.stack([x.sin().sum(1), (x[:, 0] * x[:, 1]).tanh()], 1).to(dtype)


def close(a, b, tolerance=1e-10):
    """Of two networks: weights and outputs."""
    for u, v in zip([*a.layers_.weights, a.output_], [*b.layers_.weights, b.output_], strict=True):
        assert float((u - v).norm()) <= tolerance * float(v.norm())


class Batches:
    """A loader of unequal batches."""

    def __init__(self, x, y, size=37, order=None):
        self.x, self.y, self.size, self.order = x, y, size, order

    def __iter__(self):
        order = torch.arange(len(self.x)) if self.order is None else self.order
        return ((self.x[i], self.y[i]) for i in order.split(self.size))
