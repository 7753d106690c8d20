"""What the tests of ef.compress share: tensors of every kind, and what must come back."""

import torch

import effdl_fast as ef
from effdl_fast.compress._format import _DTYPES

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Every dtype that this torch has, and that is not one of a quantized tensor.
DTYPES = [getattr(torch, name) for name in _DTYPES if hasattr(torch, name)]


def weights(*shape, dtype=torch.float32, seed=0):
    """Like trained weights: most of them small, a few large."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=g, dtype=torch.float64)
    return (x * x.abs() / 16).to(dtype)


def any_bits(shape, dtype, seed=0):
    """A tensor of any dtype, of any bits."""
    g = torch.Generator().manual_seed(seed)
    n = int(torch.Size(shape).numel()) * dtype.itemsize
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (n,), dtype=torch.uint8, generator=g)
    return raw.view(dtype).view(shape)


def integers(x):
    """A view of any tensor as numbers of its size; some dtypes cannot be copied as themselves."""
    same = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
    return x.resolve_conj().resolve_neg().view(same[x.dtype.itemsize])


def memory(x):
    """The bytes of the elements in order, for comparisons that NaN cannot disturb."""
    return integers(x).contiguous().view(-1).view(torch.uint8)


def same_bits(a, b):
    return a.dtype is b.dtype and a.shape == b.shape and torch.equal(memory(a), memory(b))


def assert_within(info, x, y):
    """y is what x may come back as, by what `inspect` says of it."""
    assert y.dtype is x.dtype and y.shape == x.shape
    if info.codec == "raw":
        assert same_bits(x, y)
        return
    x, y = x.detach().double(), y.double()
    # float32 computes lo + (q + 0.5) * step with three roundings; the result is rounded to its dtype once more.
    rounding = 4 * torch.finfo(torch.float32).eps * float(x.abs().max())
    if info.dtype is torch.float64:
        rounding = 4 * torch.finfo(torch.float64).eps * float(x.abs().max())
    elif info.dtype in (torch.float16, torch.bfloat16):
        rounding += torch.finfo(info.dtype).eps * float(x.abs().max())
    assert float((x - y).abs().max()) <= info.max_error + rounding


def assert_round_trip(content, back, inspection):
    """`back` is a state dict that `content` may come back as."""
    assert list(back) == list(content)
    infos = {t.name: t for t in inspection.tensors}
    for name, x in content.items():
        assert_within(infos[name], x, back[name])


def container(seed=0):
    """A small container with every kind of entry, and what it holds."""
    w = weights(20, 12, seed=seed)
    state = {
        "w": w,
        "tied": w.t(),
        "steps": torch.arange(3),
        "flat": torch.full((40,), 0.5),
        "h": weights(100, dtype=torch.float16),
    }
    return ef.compress.compress(state), state
