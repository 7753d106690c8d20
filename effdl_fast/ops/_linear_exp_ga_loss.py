"""What is behind `linear_exp_ga_loss`: tiles of logits, class slices over a group, autograd, dispatcher."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._dispatch import DISPATCHER, LIB, route
from effdl_fast.ops._ga_loss import _keep_graph, no_double_backward
from effdl_fast.ops._ga_loss_ref import MEAN, NONE, SUM

_OP = "linear_exp_ga_loss"
_MIN_CLASSES = 1024  # rows are split before a tile gets narrower: narrower matrix products are slower


class Problem(NamedTuple):
    """One call: input (N, D), weight (C, D), flat target; everything checked."""

    input: Tensor
    weight: Tensor
    target: Tensor  # (N,) int64, or dense (N, C)
    bias: Tensor | None
    alpha: float | Tensor  # tensor: (1, C), (N, 1) or ()
    target_value: float
    negative_value: float
    class_weight: Tensor | None
    ignore_index: int
    reduction: int
    clamp: float | None
    group: Any  # torch.distributed.ProcessGroup or None
    class_start: int
    class_total: int  # -1: not known before the ranks have told each other
    chunk_bytes: int


class _Grads(NamedTuple):
    """Gradients for an upstream gradient of 1. They still lack the factor norm, if there is one."""

    input: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    norm: Tensor | None


def loss_of(p: Problem) -> Tensor:
    """The loss, float32 or float64, () or (N,), by the route that fits: kernel, kernel with autograd, or dispatcher."""
    if DISPATCHER in (route(_OP, "input", p.input), route(_OP, "weight", p.weight)):
        return _through_dispatcher(p)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (p.input, p.weight, p.bias)):
        return _LinearExpGALoss.apply(p.input, p.weight, p.bias, p)
    return _forward(p, (False, False, False))[0]


def _check_values(p: Problem) -> None:
    """What only the values tell. Not on CUDA, where looking at them would stop the queue."""
    if p.input.device.type != "cpu":
        return
    if isinstance(p.alpha, Tensor) and not bool(((p.alpha > 0) & (p.alpha < math.inf)).all()):
        raise ValueError(f"{_OP}: alpha must be positive and finite everywhere")
    if not p.target.is_floating_point():
        bad = ((p.target < 0) | (p.target >= p.class_total)) & (p.target != p.ignore_index)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise ValueError(
                f"{_OP}: target at position {first} is {int(p.target[first])}, outside [0, {p.class_total}) and not "
                f"ignore_index ({p.ignore_index})"
            )


# ---- the tiles ----


def _plan(rows: int, classes: int, chunk_elements: int) -> tuple[int, int]:
    """Rows and classes of a tile. All rows where possible: a slice of the weight's gradient is then one product."""
    fit = chunk_elements // max(rows, 1)
    width = min(classes, max(fit, min(_MIN_CLASSES, chunk_elements), 1))
    if width < classes:
        pieces = -(-classes // max(width // 64 * 64, 1))
        width = min(-(-classes // (pieces * 64)) * 64, max(width, 1))  # even slices that start on a cache line
    return max(min(rows, chunk_elements // width), 1), width


def _ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + step, length)) for begin in range(0, length, step))


def _tiles(rows: int, classes: int, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Tiles in an order that finishes the larger gradient slice by slice, so that only the smaller is summed whole."""
    if rows <= classes:
        yield from ((r0, r1, c0, c1) for c0, c1 in _ranges(classes, width) for r0, r1 in _ranges(rows, height))
    else:
        yield from ((r0, r1, c0, c1) for r0, r1 in _ranges(rows, height) for c0, c1 in _ranges(classes, width))


class _Sum:
    """A gradient (length, D) as a sum of matrix products, in float32 or better whatever its dtype."""

    def __init__(self, like: Tensor, dtype: torch.dtype, pieces: int, block: int) -> None:
        make = torch.empty if pieces > 0 else torch.zeros  # a sum of nothing
        self.out = make(like.shape, dtype=dtype, device=like.device)
        self.pieces = pieces
        self.sum: Tensor | None = None
        if pieces > 1 and dtype.itemsize < 4:
            self.sum = torch.empty((block, like.shape[1]), dtype=torch.float32, device=like.device)
        self.whole = block == like.shape[0]

    def add(self, begin: int, end: int, piece: int, a: Tensor, b: Tensor) -> None:
        """Adds a @ b to [begin, end): the piece-th of so many products there."""
        out = self.out[begin:end]
        if self.sum is not None:
            total = self.sum[begin:end] if self.whole else self.sum[: end - begin]
        else:
            total = out
        if total.dtype == a.dtype:
            if piece == 0:
                torch.mm(a, b, out=total)
            else:
                torch.addmm(total, a, b, out=total)
        else:
            # CUDA multiplies 16-bit matrices into float32; elsewhere each product is rounded once before it is added.
            product = torch.mm(a, b, out_dtype=total.dtype) if a.is_cuda else torch.mm(a, b)
            if piece == 0:
                total.copy_(product)
            else:
                total.add_(product)
        if self.sum is not None and piece == self.pieces - 1:
            out.copy_(total)


def _forward(p: Problem, need: tuple[bool, bool, bool], upstream: Tensor | None = None) -> tuple[Tensor, _Grads]:
    """Loss, float32 or float64, and the gradients in `need` (input, weight, bias), on real memory.

    upstream: the gradient of each sample's loss, where it is known; reduction "none" then.
    """
    if p.group is not None:
        p = _find_slice(p)
    _check_values(p)
    with torch.no_grad(), torch.autocast(p.input.device.type, enabled=False):
        loss, grads = _all_tiles(p, need, upstream)
        if p.group is not None:
            if upstream is None:
                loss = _reduce_loss(p, loss)
            if grads.norm is not None:  # other ranks may have tiled their slice otherwise and have none
                for grad in grads[:3]:
                    if grad is not None:
                        grad.mul_(grads.norm)
                grads = grads._replace(norm=None)
            if grads.input is not None:
                torch.distributed.all_reduce(grads.input, group=p.group)
                if p.input.dtype == torch.bfloat16:
                    grads = grads._replace(input=grads.input.to(torch.bfloat16))
    return loss, grads


def _all_tiles(p: Problem, need: tuple[bool, bool, bool], upstream: Tensor | None) -> tuple[Tensor, _Grads]:
    need_input, need_weight, need_bias = need
    if upstream is not None and not p.target.is_floating_point():
        upstream = upstream.masked_fill(p.target == p.ignore_index, 0.0)  # 0 * inf is not 0
    rows, classes = p.input.shape[0], p.weight.shape[0]
    cuda, dtype = p.input.is_cuda, p.input.dtype
    half = dtype is torch.float16
    real = torch.float64 if dtype is torch.float64 else torch.float32
    work = real if half and not cuda else dtype  # CPUs multiply float16 matrices far slower than float32 ones
    # A float16 gradient is kept in float32 until the loss scale is in it.
    kept = real if half else dtype
    height, width = _plan(rows, classes, p.chunk_bytes // work.itemsize)
    row_blocks, class_blocks = -(-rows // height), -(-classes // width)
    # The kernel divides by the mean's denominator if it sees all rows at once, and the quotients fit.
    in_kernel = p.reduction != MEAN or (row_blocks == 1 and not (half and cuda))
    mode = p.reduction if in_kernel else SUM
    norm = None if in_kernel else _norm(p, real)

    by_class = rows <= classes  # see _tiles
    input_dtype = kept if p.group is None else real  # the ranks' parts are summed before they are rounded
    d_input = _Sum(p.input, input_dtype, class_blocks, rows if by_class else height) if need_input else None
    d_weight = _Sum(p.weight, kept, row_blocks, width if by_class else classes) if need_weight else None
    d_bias = torch.zeros(classes, dtype=real, device=p.input.device) if need_bias else None
    need_grad = need_input or need_weight or need_bias
    buffer = torch.empty(height * width, dtype=work, device=p.input.device)
    per_row = p.reduction == NONE
    loss = torch.zeros(rows if per_row else (row_blocks, class_blocks), dtype=real, device=p.input.device)
    workspace = None
    if cuda:
        size = _C.ga_loss_workspace_bytes(p.alpha.numel() if isinstance(p.alpha, Tensor) else 0)
        workspace = torch.empty(size, dtype=torch.uint8, device=p.input.device)

    x: Tensor | None = None
    x_rows = (-1, -1)
    for r0, r1, c0, c1 in _tiles(rows, classes, height, width):
        if (r0, r1) != x_rows:
            x, x_rows = _input_rows(p, r0, r1, work), (r0, r1)
        assert x is not None  # for the type checker: the first tile sets it
        w = p.weight[c0:c1].to(work)
        tile = buffer[: (r1 - r0) * (c1 - c0)].view(r1 - r0, c1 - c0)
        if p.bias is None:
            torch.mm(x, w.t(), out=tile)
        else:
            torch.addmm(p.bias[c0:c1].to(work), x, w.t(), out=tile)
        cell = loss.new_empty(r1 - r0) if per_row else loss[r0 // height, c0 // width]
        _kernel(p, tile, slice(r0, r1), slice(c0, c1), cell, need_grad, mode, workspace)
        if per_row:
            loss[r0:r1].add_(cell)
        if not need_grad:
            continue
        if upstream is not None:
            tile.mul_(upstream[r0:r1].unsqueeze(1))
        if d_input is not None:
            d_input.add(r0, r1, c0 // width, tile, w)
        if d_weight is not None:
            d_weight.add(c0, c1, r0 // height, tile.t(), x)
        if d_bias is not None:
            d_bias[c0:c1].add_(tile.sum(0, dtype=real))
    if not per_row:
        loss = loss.sum()
        if p.reduction == MEAN and (norm is not None or rows == 0):
            loss = loss / _denominator(p, real)
    bias = d_bias if d_bias is None else d_bias.to(kept)
    return loss, _Grads(
        None if d_input is None else d_input.out, None if d_weight is None else d_weight.out, bias, norm
    )


def _input_rows(p: Problem, r0: int, r1: int, dtype: torch.dtype) -> Tensor:
    """Rows of input to multiply; ignored ones are zeros, because 0 (their gradient) times inf is not 0."""
    x = p.input[r0:r1].to(dtype)
    if p.target.is_floating_point():
        return x
    ignored = p.target[r0:r1] == p.ignore_index
    # On CUDA asking would stop the queue.
    return x.masked_fill(ignored.unsqueeze(1), 0.0) if x.is_cuda or bool(ignored.any()) else x


def _kernel(p: Problem, tile: Tensor, rows: slice, classes: slice, loss: Tensor, need_grad: bool, mode: int,
            workspace: Tensor | None) -> None:  # fmt: skip
    """Writes the tile's loss; turns its logits into their gradient."""
    target, weight = p.target, p.class_weight
    if target.is_floating_point():
        target = target[rows, classes].to(tile.dtype)
        start, total = 0, -1
        weight = None if weight is None else weight[p.class_start + classes.start : p.class_start + classes.stop]
    else:
        target = target[rows]
        start, total = p.class_start + classes.start, p.class_total
    alpha = p.alpha
    if isinstance(alpha, Tensor) and alpha.dim() == 2:
        alpha = alpha[:, classes] if alpha.shape[0] == 1 and alpha.shape[1] == p.weight.shape[0] else alpha[rows]
    _C.exp_ga_loss(tile, target, loss, tile if need_grad else None, None, workspace, alpha, None, p.clamp,
                   p.target_value, p.negative_value, weight, p.ignore_index, mode, start, total)  # fmt: skip


def _denominator(p: Problem, dtype: torch.dtype) -> Tensor:
    if p.target.is_floating_point():
        return torch.full((), p.target.shape[0], dtype=dtype, device=p.target.device)
    counted = p.target != p.ignore_index
    if p.class_weight is None:
        return counted.sum(dtype=dtype)
    return (p.class_weight[p.target.clamp(0, p.class_total - 1)] * counted).sum(dtype=dtype)


def _norm(p: Problem, dtype: torch.dtype) -> Tensor:
    denominator = _denominator(p, dtype)
    return torch.where(denominator == 0, 0.0, 1.0 / denominator)  # no sample counts: no gradient


# ---- class slices over a torch.distributed group ----


def _find_slice(p: Problem) -> Problem:
    """Fills in class_start and class_total from the sizes of all ranks' slices: one all-gather.

    Not remembered: a rank that knew its slice while another had to ask would leave the other waiting.
    """
    if p.class_total < 0:
        mine = torch.tensor([p.weight.shape[0]], device=p.weight.device)
        sizes = [torch.empty_like(mine) for _ in range(p.group.size())]
        torch.distributed.all_gather(sizes, mine, group=p.group)
        numbers = torch.cat(sizes).tolist()
        p = p._replace(class_start=sum(numbers[: p.group.rank()]), class_total=sum(numbers))
    if p.class_weight is not None and p.class_weight.shape[0] != p.class_total:
        raise ValueError(
            f"{_OP}: class_weight must hold one number for each of the {p.class_total} classes of class_group, got "
            f"{tuple(p.class_weight.shape)}"
        )
    return p


def _reduce_loss(p: Problem, loss: Tensor) -> Tensor:
    """Sums the loss over the ranks and, in the same message, proves that their arguments fit together.

    Slices [s, s + c) that tile [0, total) have sum c = total and sum (s + c)^2 - s^2 = total^2; ranks that agree on the
    total, the number of samples and a checksum of the targets have sums of size times their own. Exact: all below 2^53.
    """
    classes, start, total, ranks = p.weight.shape[0], p.class_start, p.class_total, p.group.size()
    rows = p.target.shape[0]
    seen: Tensor | int = 0
    if not p.target.is_floating_point():
        place = torch.arange(rows, device=p.target.device) % 65521 + 1  # the largest prime below 2^16
        seen = (p.target * place).sum() % (1 << 31)
    facts = torch.zeros(5, dtype=torch.float64, device=loss.device)
    expected = torch.zeros_like(facts)
    for i, (mine, all_ranks) in enumerate((
        (classes, total),
        ((2 * start + classes) * classes, total * total),
        (total, ranks * total),
        (rows, ranks * rows),
        (seen, ranks * seen),
    )):  # fmt: skip
        facts[i], expected[i] = mine, all_ranks
    message = torch.cat([loss.reshape(-1).double(), facts])
    torch.distributed.all_reduce(message, group=p.group)
    wrong = (
        f"{_OP}: the ranks of class_group disagree: their slices of the classes must tile [0, class_total), and input "
        f"and target must be the same on every rank (this rank: classes [{start}, {start + classes}) of {total}, "
        f"{rows} samples)"
    )
    fits = (message[-5:] == expected).all()
    if loss.is_cuda:
        torch._assert_async(fits, wrong)
    elif not bool(fits):
        raise ValueError(wrong)
    return message[:-5].view(loss.shape).to(loss.dtype)


# ---- autograd ----


class _LinearExpGALoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, p: Problem) -> Tensor:
        ctx.dtype, ctx.reduction = input.dtype, p.reduction
        if p.reduction == NONE:
            loss, _ = _forward(p, (False, False, False))
            ctx.rest = [None if isinstance(x, Tensor) else x for x in p]
            ctx.tensors = [i for i, x in enumerate(p) if isinstance(x, Tensor)]
            ctx.save_for_backward(*(p[i] for i in ctx.tensors))
        else:
            loss, grads = _forward(p, ctx.needs_input_grad[:3])
            ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple:
        no_double_backward(_OP)
        if ctx.reduction == NONE:
            p = Problem(*_with_tensors(ctx))
            *grads, _ = _forward(p, ctx.needs_input_grad[:3], upstream)[1]
            return (*(None if g is None else g.to(ctx.dtype) for g in grads), None)
        *grads, norm = ctx.saved_tensors
        factor = upstream if norm is None else upstream * norm
        keep = _keep_graph()
        return (*(None if g is None else _scaled(g, factor, ctx.dtype, keep) for g in grads), None)


def _with_tensors(ctx: Any) -> list[Any]:
    """The arguments that ctx.rest and the saved tensors at ctx.tensors stand for."""
    args = list(ctx.rest)
    for i, x in zip(ctx.tensors, ctx.saved_tensors, strict=True):
        args[i] = x
    return args


def _scaled(grad: Tensor, factor: Tensor, dtype: torch.dtype, keep: bool) -> Tensor:
    """grad * factor in dtype; in grad's own memory unless the graph is kept, and grad itself where factor is 1."""
    if grad.device.type == "cpu" and float(factor) == 1.0:
        return grad.to(dtype) if dtype != grad.dtype else grad.clone() if keep else grad
    out = torch.empty_like(grad, dtype=dtype) if keep or dtype != grad.dtype else grad
    return torch.mul(grad, factor, out=out)


# ---- torch.ops.effdl_fast.linear_exp_ga_loss: what torch.compile, export, FakeTensorMode and subclasses see ----

_ARGUMENTS = (
    "Tensor input, Tensor weight, Tensor target, Tensor? bias, Tensor? alpha_tensor, float alpha, float target_value, "
    "float negative_value, Tensor? class_weight, int ignore_index, int reduction, float? clamp, str? group, "
    "int class_start, int class_total, int chunk_bytes, bool need_input, bool need_weight, bool need_bias"
)
LIB.define(f"{_OP}({_ARGUMENTS}) -> (Tensor loss, Tensor d_input, Tensor d_weight, Tensor d_bias, Tensor norm)")
LIB.define(f"{_OP}_backward(Tensor upstream, {_ARGUMENTS}) -> (Tensor d_input, Tensor d_weight, Tensor d_bias)")
_COUNT = 19  # arguments


def _through_dispatcher(p: Problem) -> Tensor:
    tensor, number = (p.alpha, 1.0) if isinstance(p.alpha, Tensor) else (None, p.alpha)
    grad = torch.is_grad_enabled()
    needs = [grad and x is not None and x.requires_grad for x in (p.input, p.weight, p.bias)]
    # A group cannot be an argument; its name can, and stays valid when the graph is saved and loaded.
    return torch.ops.effdl_fast.linear_exp_ga_loss(
        p.input, p.weight, p.target, p.bias, tensor, number, p.target_value, p.negative_value, p.class_weight,
        p.ignore_index, p.reduction, p.clamp, None if p.group is None else p.group.group_name, p.class_start,
        p.class_total, p.chunk_bytes, *needs)[0]  # fmt: skip


def _from_arguments(args: tuple) -> tuple[Problem, tuple[bool, bool, bool]]:
    (input, weight, target, bias, alpha_tensor, alpha, target_value, negative_value, class_weight, ignore_index,
     reduction, clamp, name, start, total, chunk_bytes, *needs) = args  # fmt: skip
    group = None if name is None else torch.distributed.distributed_c10d._resolve_process_group(name)
    return Problem(input, weight, target, bias, alpha if alpha_tensor is None else alpha_tensor, target_value,
                    negative_value, class_weight, ignore_index, reduction, clamp, group, start, total,
                    chunk_bytes), tuple(needs)  # fmt: skip


def _op_forward(*args: Any) -> tuple[Tensor, ...]:
    p, needs = _from_arguments(args)
    loss, grads = _forward(p, (False, False, False) if p.reduction == NONE else needs)
    norm = torch.ones((), dtype=loss.dtype, device=loss.device) if grads.norm is None else grads.norm
    return loss, *(p.input.new_empty(0) if g is None else g for g in grads[:3]), norm


def _op_backward(upstream: Tensor, *args: Any) -> tuple[Tensor, ...]:
    p, needs = _from_arguments(args)
    grads = _forward(p, needs, upstream)[1]
    return tuple(p.input.new_empty(0) if g is None else g.to(p.input.dtype) for g in grads[:3])


def _fake_grads(args: tuple, dtype: torch.dtype) -> tuple[Tensor, ...]:
    shapes = args[0].shape, args[1].shape, args[1].shape[:1]
    like = args[0]
    return tuple(
        like.new_empty(shape, dtype=dtype) if need else like.new_empty(0)
        for shape, need in zip(shapes, args[_COUNT - 3 :], strict=True)
    )


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    input, reduction = args[0], args[10]
    real = torch.float64 if input.dtype is torch.float64 else torch.float32
    args = args if reduction != NONE else (*args[: _COUNT - 3], False, False, False)
    grads = _fake_grads(args, real if input.dtype is torch.float16 else input.dtype)
    loss = input.new_empty(input.shape[:1] if reduction == NONE else (), dtype=real)
    return loss, *grads, input.new_empty((), dtype=real)


def _fake_backward(upstream: Tensor, *args: Any) -> tuple[Tensor, ...]:
    return _fake_grads(args, args[0].dtype)


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    _, *grads, norm = output
    ctx.mark_non_differentiable(*grads, norm)
    ctx.set_materialize_grads(False)
    ctx.needs, ctx.dtype, ctx.reduction = inputs[_COUNT - 3 :], inputs[0].dtype, inputs[10]
    if ctx.reduction == NONE:
        ctx.tensors = [i for i, x in enumerate(inputs) if isinstance(x, Tensor)]
        ctx.rest = [None if isinstance(x, Tensor) else x for x in inputs]
        ctx.save_for_backward(*(inputs[i] for i in ctx.tensors))
    else:
        ctx.save_for_backward(*grads, norm)


def _autograd_backward(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> tuple:
    no_double_backward(_OP)
    grads: list[Any] = [None] * 3
    if upstream is not None and ctx.reduction == NONE:
        grads = list(torch.ops.effdl_fast.linear_exp_ga_loss_backward(upstream, *_with_tensors(ctx)))
    elif upstream is not None:
        *saved, norm = ctx.saved_tensors
        grads = [
            (g * (upstream * norm)).to(ctx.dtype) if need else None for g, need in zip(saved, ctx.needs, strict=True)
        ]
    d_input, d_weight, d_bias = (g if need else None for g, need in zip(grads, ctx.needs, strict=True))
    return (d_input, d_weight, None, d_bias, *(None,) * (_COUNT - 4))


for _device in ("CPU", "CUDA"):
    LIB.impl(_OP, _op_forward, _device)
    LIB.impl(f"{_OP}_backward", _op_backward, _device)
torch.library.register_fake(f"effdl_fast::{_OP}", _fake_forward, lib=LIB)
torch.library.register_fake(f"effdl_fast::{_OP}_backward", _fake_backward, lib=LIB)
torch.library.register_autograd(f"effdl_fast::{_OP}", _autograd_backward, setup_context=_setup_context, lib=LIB)
