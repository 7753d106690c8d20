"""ef.compress on whole tensors and state dicts: what comes back, what is refused."""

import io
import warnings

import pytest
import torch

import effdl_fast as ef
from effdl_fast import compress as C

from ._compress import DTYPES, FLOATS, any_bits, assert_round_trip, assert_within, integers, memory, same_bits, weights


def round_trip(x, **options):
    data = C.compress(x, **options)
    assert isinstance(data, bytes)
    y = C.decompress(data)
    assert isinstance(y, torch.Tensor)
    (info,) = C.inspect(data, verify=True).tensors
    assert_within(info, x, y)
    assert len(data) <= C.compress_bound(x.numel(), x.dtype)
    return y, info


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(300,), (40, 50), (3, 1, 7, 40), (40000,)])
def test_floats_come_back_within_half_a_step(dtype, shape):
    _, info = round_trip(weights(*shape, dtype=dtype))
    assert info.codec in ("fixed", "huffman") and info.stored_bytes < info.original_bytes
    assert info.max_error > 0 and info.shape == shape and info.dtype is dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (4, 2)])
def test_every_dtype_and_shape(dtype, shape):
    """Up to 8 elements are never worth a record, so all of this is byte for byte, NaNs included."""
    x = any_bits(shape, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = C.compress(x, nonfinite="raw")
        y = C.decompress(data)
    assert same_bits(x, y) and y.is_contiguous()
    assert len(data) <= C.compress_bound(x.numel(), dtype)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in FLOATS], ids=str)
def test_other_dtypes_are_never_quantized(dtype):
    x = any_bits((64, 40), dtype)
    y, info = round_trip(x)
    assert same_bits(x, y) and info.codec == "raw" and info.bits is None
    assert same_bits(C.decompress(C.compress(x.t())), integers(x).t().contiguous().view(x.dtype))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x[1:, 3:],
        lambda x: x[:, 5],
        lambda x: x.diagonal(),
        lambda x: x[:1].expand(70, -1),
        lambda x: x.view(20, 2, 8, 5).to(memory_format=torch.channels_last),
        lambda x: torch.nn.Parameter(x),
        lambda x: x.requires_grad_() * 1,
        lambda x: torch._neg_view(x),
    ],
)
def test_any_strides(view):
    x = view(weights(40, 40))
    y, _ = round_trip(x)
    assert y.is_contiguous() and not y.requires_grad
    assert same_bits(y, C.decompress(C.compress(x.detach().clone(memory_format=torch.contiguous_format))))


def test_conjugated_views():
    x = any_bits((20, 3), torch.complex64).conj()
    assert same_bits(C.decompress(C.compress(x)), x.resolve_conj())


@pytest.mark.parametrize("codec", ["huffman", "rans", "fixed", "auto"])
def test_codecs(codec):
    x = weights(70, 1000)
    y, info = round_trip(x, codec=codec)
    assert info.codec == codec or codec == "auto"
    assert torch.equal(y, C.decompress(C.compress(x, codec="fixed")))


def test_raw_keeps_every_bit():
    x = any_bits((1000,), torch.float32)
    y, info = round_trip(x, codec="raw")
    assert same_bits(x, y) and info.codec == "raw" and info.ratio == 1 and info.bits_per_parameter == 32


def test_constant_tensors_are_exact():
    for dtype in FLOATS:
        y, info = round_trip(torch.full((1000,), 0.1, dtype=dtype))
        assert info.codec == "constant" and info.stored_bytes == 48 and bool((y == y.new_tensor(0.1)).all())


def test_what_would_not_shrink_is_raw():
    """One record unit of 64 bytes holds 48 bytes of header: 16 float32 elements are as small as they are."""
    for n in range(1, 60):
        x = weights(n)
        data = C.compress(x)
        (info,) = C.inspect(data).tensors
        assert -(-info.stored_bytes // 64) <= -(-info.original_bytes // 64)
        if n <= 16:
            assert info.codec == "raw"
        assert len(data) <= len(C.compress(x, codec="raw"))


def test_float64_range_that_cannot_be_divided_is_raw():
    x = torch.cat([weights(100, dtype=torch.float64), torch.tensor([1.5e308, -1.5e308], dtype=torch.float64)])
    y, info = round_trip(x)
    assert info.codec == "raw" and torch.equal(x, y)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_nonfinite(bad, dtype):
    x = weights(500, dtype=dtype)
    x[77] = bad
    with pytest.raises(ValueError, match=r"compress: tensor 'layer\.weight' holds NaN or infinity"):
        C.compress({"layer.weight": x})
    with pytest.raises(ValueError, match="compress: the tensor holds NaN or infinity"):
        C.compress(x)
    y, info = round_trip(x, nonfinite="raw")
    assert same_bits(x, y) and info.codec == "raw"


def test_parameters_of_algorithm_1():
    x = weights(100_000)
    bits = {floor: round_trip(x, floor=floor)[1].bits for floor in (1, 5, 6, 16)}
    assert bits[6] == bits[5] + 1 == bits[1] + 5 and bits[16] == 16
    assert bits[6] == C.inspect(C.compress(x, sample=1.0)).tensors[0].bits
    assert bits[6] < C.inspect(C.compress(x, entropy_bits=8)).tensors[0].bits
    assert C.compress(x, seed=1) == C.compress(x, seed=1)


@pytest.mark.parametrize("content", [{}, {"": weights(3)}, {"a": torch.tensor(2.0)}])
def test_small_state_dicts(content):
    data = C.compress(content)
    back = C.decompress(data)
    assert list(back) == list(content) and all(same_bits(back[k], content[k]) for k in content)


def test_a_model_comes_back():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.LSTM(32, 48, 2), torch.nn.Linear(48, 10)
    )
    state = model.state_dict()
    data = C.compress(state)
    inspection = C.inspect(data)
    back = C.decompress(data)
    assert_round_trip(state, back, inspection)
    model.load_state_dict(back)
    assert same_bits(back["1.num_batches_tracked"], state["1.num_batches_tracked"])
    assert inspection.original_bytes == sum(x.nbytes for x in state.values())
    assert inspection.elements == sum(x.numel() for x in state.values())
    assert inspection.container_bytes == len(data) == inspection.stored_bytes + inspection.overhead_bytes
    assert inspection.ratio == pytest.approx(inspection.original_bytes / len(data)) and inspection.ratio > 2.5
    assert inspection.bits_per_parameter == pytest.approx(8 * len(data) / inspection.elements)
    assert inspection.max_error == max(t.max_error for t in inspection.tensors)


def test_order_and_names():
    names = ["z", "a", "", "ä.β", "a.b/c", "\n", "x" * 300]
    content = {name: weights(2, 3, seed=i) for i, name in enumerate(names)}
    back = C.decompress(C.compress(content))
    assert list(back) == names and all(same_bits(back[n], content[n]) for n in names)


def test_input_is_left_alone_and_memory_is_not_shared():
    x = weights(64, 64)
    before = x.clone()
    data = bytearray(C.compress({"x": x, "i": torch.arange(9)}))
    back = C.decompress(data)
    data[:] = bytes(len(data))
    assert torch.equal(x, before) and torch.equal(back["i"], torch.arange(9)) and float(back["x"].abs().max()) > 0
    back["i"].add_(1)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda d: torch.tensor(list(d), dtype=torch.uint8)])
def test_kinds_of_data(wrap):
    x = weights(1000)
    data = C.compress(x)
    assert torch.equal(C.decompress(wrap(data)), C.decompress(data))
    assert C.inspect(wrap(data)) == C.inspect(data)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("level", ["scalar", "auto"])
def test_the_same_bytes_everywhere(threads, level):
    state = {"w": weights(300, 300), "h": weights(5000, dtype=torch.bfloat16), "i": torch.arange(10)}
    expected = C.compress(state)
    torch.set_num_threads(threads)
    ef._C.set_simd_level(level)
    assert C.compress(state) == expected
    back = C.decompress(expected)
    assert all(memory(back[k]).numel() == memory(state[k]).numel() for k in state)


def test_save_and_load(tmp_path):
    state = {"w": weights(200, 30), "i": torch.arange(10)}
    path = tmp_path / "m.efw"
    C.save(path, state, floor=5, metadata={"epoch": "3"})
    assert path.read_bytes() != C.compress(state, floor=5)  # for the metadata
    C.save(path, state, floor=5)
    assert path.read_bytes() == C.compress(state, floor=5)
    loaded = C.load(path)
    assert_round_trip(state, loaded, C.inspect(path))
    C.save(str(path), state["w"])
    assert C.load(str(path)).shape == (200, 30)
    assert [p.name for p in tmp_path.iterdir()] == ["m.efw"]


def test_max_elements(tmp_path):
    state = {"a": weights(600), "b": torch.full((400,), 1.0), "i": torch.arange(24)}
    data = C.compress(state)
    (tmp_path / "m").write_bytes(data)
    assert list(C.decompress(data, max_elements=1024)) == ["a", "b", "i"]
    for call in (
        lambda: C.decompress(data, max_elements=1023),
        lambda: C.load(tmp_path / "m", max_elements=1023),
        lambda: C.Reader(tmp_path / "m", max_elements=1023),
    ):
        with pytest.raises(ef.CorruptDataError, match="1024 elements, more than max_elements=1023"):
            call()


SPARSE = torch.eye(3).to_sparse()


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (3, TypeError, "compress: expected a torch.Tensor or a state dict, got int"),
        ([weights(3)], TypeError, "compress: expected a torch.Tensor or a state dict, got list"),
        ({"a": 3}, TypeError, "compress: tensor 'a' must be a torch.Tensor, got int"),
        ({"a": {"b": weights(3)}}, TypeError, "compress: tensor 'a' must be a torch.Tensor, got dict"),
        ({3: weights(3)}, TypeError, "compress: the state dict's keys must be strings, got 3"),
        ({"a": SPARSE}, TypeError, "compress: tensor 'a' must be a dense tensor"),
        (torch.empty(3, device="meta"), TypeError, "compress: the tensor must be a dense tensor.*meta"),
        (torch.zeros([1] * 65), ValueError, "compress: the tensor must have at most 64 dimensions, got 65"),
    ],
)
def test_what_cannot_be_compressed(content, kind, message):
    with pytest.raises(kind, match=message):
        C.compress(content)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation:UserWarning")
def test_quantized_tensors_are_more_than_their_elements():
    x = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match="compress: the tensor must not be quantized already, got qint8"):
        C.compress(x)


@pytest.mark.parametrize(
    ("option", "kind", "message"),
    [
        ({"floor": "6"}, TypeError, "compress: floor must be a number"),
        ({"floor": float("nan")}, ValueError, "compress: floor must be finite"),
        ({"entropy_bits": 0}, ValueError, "compress: entropy_bits must be from 1 to 16, got 0"),
        ({"entropy_bits": 2.5}, TypeError, "compress: entropy_bits must be an integer, got float"),
        ({"sample": 0}, ValueError, "compress: sample must be above 0 and at most 1"),
        ({"seed": -1}, ValueError, "compress: seed must be from 0"),
        (
            {"codec": "zstd"},
            ValueError,
            "compress: codec must be one of 'raw', .*, got 'zstd'",
        ),
        ({"nonfinite": None}, ValueError, "compress: nonfinite must be one of"),
    ],
)
def test_options_are_checked_before_the_work(option, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        C.compress({"i": torch.arange(3)}, **option)
    with pytest.raises(kind, match=message.replace("compress", "save", 1)):
        C.save(tmp_path / "m", {}, **option)
    with pytest.raises(kind, match=message.replace("compress", "Writer", 1)):
        C.Writer(tmp_path / "m", **option)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [3, "text", torch.zeros(4), io.BytesIO(b"x"), memoryview(bytes(8))[::2]])
def test_data_that_are_no_bytes(data):
    with pytest.raises(TypeError, match="decompress: data must be"):
        C.decompress(data)


def test_compress_bound():
    assert C.compress_bound(1000) > 4000 and C.compress_bound(1000, torch.float64) > 8000
    x = torch.rand([1] * 63 + [1000])
    assert len(C.compress(x, codec="raw")) == C.compress_bound(1000)
    for n, kind in ((-1, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(kind, match="compress_bound: n"):
            C.compress_bound(n)
    with pytest.raises(TypeError, match="compress_bound: dtype"):
        C.compress_bound(3, "float32")


def test_no_default_device_or_dtype_gets_in():
    with torch.device("meta"):
        data = C.compress(torch.arange(100, device="cpu").float())
        assert C.decompress(data).device.type == "cpu"
