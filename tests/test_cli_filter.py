"""`effdl filter`: sources, files, figures and mistakes."""

from __future__ import annotations

import base64
import itertools
import json
import re

import pytest
import torch

pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")
np = pytest.importorskip("numpy")
typer_testing = pytest.importorskip("typer.testing")

from effdl_fast import cli, metrics
from effdl_fast.filter import pictures, report
from effdl_fast.reproduce import store

from .test_filtering import blobs

runner = typer_testing.CliRunner()
OUTPUTS = ["depth.npy", "kept.npy", "report.html", "report.json"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    result = runner.invoke(cli.app, ["filter", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments, capsys):
    assert cli.main(["filter", *arguments]) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("effdl: ")
    return line


def written(out="filtered"):
    with open(f"{out}/report.json") as file:
        told = json.load(file)
    with open(f"{out}/report.html") as file:
        html = file.read()
    return np.load(f"{out}/kept.npy"), np.load(f"{out}/depth.npy"), told, html


def plots(html):
    return [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]


def test_an_npz_file_of_vectors(folder):
    x, y = blobs(n=500)
    np.savez("set.npz", x=x.numpy(), y=y.numpy(), classes=np.array(["a", "<b>", "c"]))
    output = run("set.npz", "--k", "5")
    kept, depth, told, html = written()
    expected = metrics.k_filter(x, y, 5)
    assert kept.dtype == np.int64 and kept.tolist() == expected.tolist()
    assert depth.dtype == np.int32 and depth.tolist() == metrics.redundancy_depths(x, y).tolist()
    assert f"{len(kept)} of 500 samples kept" in output and "report: filtered/report.html" in output
    assert sorted(p.name for p in (folder / "filtered").iterdir()) == OUTPUTS

    assert told["samples"] == 500 and told["kept"] == len(kept) and told["k"] == 5 and told["mini_batches"] == 1
    curve = told["curve"]
    assert curve["k"] == list(range(1, depth.max() + 2)) and curve["kept"][-1] == 500
    assert curve["kept"] == [int((depth < k).sum()) for k in curve["k"]]
    assert curve["kept_counting_self"] == [0, *curve["kept"][:-1]]
    assert [c["name"] for c in told["classes"]] == ["a", "<b>", "c"]
    for c in told["classes"]:
        own = depth[y.numpy() == c["label"]]
        assert c["samples"] == len(own) and c["kept"] == (own < 5).sum()
        assert c["curve"] == [int((own < k).sum()) for k in curve["k"]]

    assert "&lt;b&gt;" in html and "<b>" not in html and len(plots(html)) == 1
    deepest = int(np.flatnonzero(y.numpy() == 0)[np.argmax(depth[y.numpy() == 0])])
    assert re.search(rf"<td>a</td><td>{deepest}: {depth[deepest]}, ", html)


def test_the_training_part_and_mini_batches():
    x, y = blobs(n=600)
    np.savez("set.npz", x_train=x.numpy(), y_train=y.numpy()[:, None], x_test=x[:9].numpy(), y_test=y[:9].numpy())
    output = run("set.npz", "--k", "3", "--batch-size", "150", "--seed", "7", "--out", "deep/out", "--device", "cpu")
    kept, _, told, _ = written("deep/out")
    assert kept.tolist() == metrics.k_filter(x, y, 3, 150, generator=7).tolist()
    assert told["mini_batches"] == 4 and told["batch_size"] == 150 and told["seed"] == 7
    assert "in 4 random mini-batches of about 150" in output
    run("set.npz", "--k", "3", "--metric", "cosine")
    assert written()[0].tolist() == metrics.k_filter(x, y, 3, metric="cosine").tolist()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 8), "u1"), ((8, 8), "f4"), ((6, 5, 3), "u1"), ((3, 6, 5), "f8"), ((1, 6, 5), "f2"), ((6, 5, 1), "i2")],
)
def test_images_are_shown(shape, dtype):
    x, y = blobs(n=120, d=int(np.prod(shape)), spread=3.0)
    x = (30 * x + 120).clamp(0, 255).numpy().reshape(120, *shape).astype(dtype)
    np.savez("set.npz", x=x, y=y.numpy())
    run("set.npz", "--k", "2")
    kept, _, told, html = written()
    assert kept.tolist() == metrics.k_filter(x.astype(np.float64), y, 2).tolist()
    assert told["sample_shape"] == list(shape)
    assert len(plots(html)) == 3 and all(image.startswith(b"\x89PNG") for image in plots(html))


def test_points_of_a_plane_are_scattered_and_many_classes_thinned_out(monkeypatch):
    x, y = blobs(n=300, d=2)
    np.savez("set.npz", x=x.numpy(), y=y.numpy())
    run("set.npz", "--k", "2")
    assert len(plots(written()[3])) == 2 and "lies along the boundaries" in written()[3]
    assert "is shown" not in written()[3]
    monkeypatch.setattr(pictures, "POINTS", 100)
    run("set.npz", "--k", "2", "--force")
    assert "One point in 3 is shown." in written()[3]
    y = np.arange(300) % 30 - 5
    np.savez("set.npz", x=np.hstack([x.numpy()] * 2), y=y)
    run("set.npz", "--k", "2", "--force")
    _, _, told, html = written()
    assert [c["label"] for c in told["classes"]] == list(range(-5, 25)) and "Of the classes the 10" in html
    assert "<td>73 to 80</td>" in html, "rows of all classes, not 30 rows"


def test_one_class_is_all_redundant():
    np.savez("set.npz", x=np.random.default_rng(0).random((50, 3)), y=np.zeros(50, int))
    assert "0 of 50 samples kept (0.0%)" in run("set.npz")
    kept, depth, told, _ = written()
    assert kept.shape == (0,) and (depth == 49).all() and told["kept_share"] == 0


def test_digits():
    pytest.importorskip("sklearn")
    from effdl_fast import data

    run("digits", "--k", "20")
    stored = data.load_stored("digits")
    assert written()[0].tolist() == metrics.k_filter(stored.x, stored.y, 20).tolist()
    loaded = data.load("digits")
    assert stored.x.shape == (1437, 8, 8) and stored.x.max() == 16 and stored.y.tolist() == loaded.y_train.tolist()


def test_torchvision_sets(monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    x, y = blobs(n=200, d=12)

    class Tiny(datasets.VisionDataset):
        def __init__(self, root, train, download):
            assert not download
            part = slice(0, 150) if train else slice(150, 200)
            self.data, self.targets, self.classes = x[part].reshape(-1, 2, 2, 3), y[part], ["red", "green", "blue"]

    monkeypatch.setattr(datasets, "Tiny", Tiny, raising=False)
    run("torchvision:Tiny", "--k", "2")
    kept, _, told, _ = written()
    assert kept.tolist() == metrics.k_filter(x[:150], y[:150], 2).tolist()
    assert [c["name"] for c in told["classes"]] == ["red", "green", "blue"]


@pytest.fixture
def photos(folder):
    """Wide images of two classes, of sizes and kinds that differ; the colour in the middle tells the class."""
    pytest.importorskip("torchvision")
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(30):
            content = rng.integers(0, 256, (20 + i, 60 + i, 3), np.uint8)
            content[:, 20:-20] = rng.integers(0, 100, 3) + (100 if label == "cat" else 50)
            kind = "L" if i % 7 == 0 else "RGB"
            image.fromarray(content).convert(kind).save(
                folder / "photos" / label / f"{i:02}.{'png' if i % 2 else 'jpg'}"
            )
    return folder / "photos"


def test_a_folder_of_images(photos):
    run("photos", "--k", "3", "--size", "12")
    kept, depth, told, html = written()
    names = [f"{label}/{i:02}.{'png' if i % 2 else 'jpg'}" for label in ("cat", "dog") for i in range(30)]
    with open("filtered/kept.txt") as file:
        assert file.read().splitlines() == [names[i] for i in kept]
    assert len(depth) == 60 and 0 < len(kept) < 60
    assert told["sample_shape"] == [12, 12, 3] and told["dtype"] == "uint8" and told["name"] == "photos"
    assert [c["name"] for c in told["classes"]] == ["cat", "dog"] and len(plots(html)) == 3

    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    plain = ImageFolder(str(photos), Compose([Resize(12), CenterCrop(12), PILToTensor()]))
    x = torch.stack([image for image, _ in plain])
    assert kept.tolist() == metrics.k_filter(x, torch.tensor(plain.targets), 3).tolist()

    np.savez("set.npz", x=np.eye(4), y=np.arange(4))
    run("set.npz", "--force")
    assert sorted(p.name for p in (photos.parent / "filtered").iterdir()) == OUTPUTS, "kept.txt of the folder is gone"


def test_damaged_images_and_odd_folders(photos, capsys):
    (photos / "dog" / "07.png").write_bytes(b"no image")
    assert "07.png is no readable image" in refused("photos", capsys=capsys)
    (photos.parent / "empty").mkdir()
    assert "empty must hold a folder of images for each class" in refused("empty", capsys=capsys)
    assert "there is no folder else/where" in refused("else/where", capsys=capsys)
    assert not (photos.parent / "filtered").exists()


def test_existing_files_are_replaced_only_with_force(folder, capsys):
    x, y = blobs(n=100)
    np.savez("set.npz", x=x.numpy(), y=y.numpy())
    run("set.npz", "--k", "1")
    before = written()[0]
    message = refused("set.npz", "--k", "30", capsys=capsys)
    assert "--out: filtered holds kept.npy, depth.npy, report.json, report.html already; --force replaces" in message
    assert np.array_equal(written()[0], before)
    (folder / "filtered" / "notes").write_text("mine")
    run("set.npz", "--k", "30", "--force")
    assert len(written()[0]) > len(before) and (folder / "filtered" / "notes").read_text() == "mine"
    assert not list((folder / "filtered").glob(".*")), "no temporary file is left"


def test_the_largest_numbers_are_taken():
    x, y = blobs(n=30)
    np.savez("set.npz", x=x.numpy(), y=y.numpy())
    most = str(2**62 - 1)
    run("set.npz", "--k", str(2**31 - 1), "--batch-size", most, "--seed", most, "--size", "4096")
    assert len(written()[0]) == 30
    run("set.npz", "--batch-size", "10", "--seed", most, "--force")


@pytest.mark.parametrize("name", ["kept.npy", "depth.npy", "report.html"])
def test_an_interrupt_leaves_no_report_beside_files_of_another_run(folder, name, monkeypatch):
    x, y = blobs(n=100)
    np.savez("set.npz", x=x.numpy(), y=y.numpy())
    run("set.npz", "--k", "1")
    whole = store.write_bytes

    def interrupted(path, content):
        if path.name == name:
            raise KeyboardInterrupt
        whole(path, content)

    monkeypatch.setattr(store, "write_bytes", interrupted)
    assert cli.main(["filter", "set.npz", "--k", "30", "--force"]) == cli.INTERRUPTED
    assert not (folder / "filtered" / "report.json").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    run("set.npz", "--k", "30", "--force")
    assert written()[2]["k"] == 30


@pytest.mark.parametrize(("content", "more", "message"), [
    ({"x": np.eye(3)}, [], "set.npz: x_train, y_train or y missing; found x"),
    ({"x": np.eye(3), "y": np.arange(2)}, [], "set: x has 3 samples but y has 2 labels"),
    ({"x": np.eye(3), "y": np.arange(3.0)}, [], "y must hold integers, got dtype float64"),
    ({"x": np.ones(3), "y": np.arange(3)}, [], "x must be (N, ...)"),
    ({"x": np.array([["a"], ["b"]]), "y": np.arange(2)}, [], "x must hold numbers"),
    ({"x": np.ones((0, 2)), "y": np.ones(0, int)}, [], "x is empty"),
    ({"x": np.array([[1], [np.nan]]), "y": np.arange(2)}, [], "x holds NaN or infinite values"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--k", "0"], "k"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--batch-size", "0"], "batch-size"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--k", str(2**31)], "k"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--batch-size", str(2**62)], "batch-size"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--seed", str(2**62)], "seed"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--size", "4097"], "size"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--metric", "l1"], "--metric: expected l2, cosine, inner_product, got 'l1'"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--device", "tpu"], "--device"),
    ({"x": np.eye(3), "y": np.arange(3)}, ["--out", "set.npz"], "set.npz is a file"),
])  # fmt: skip
def test_mistakes_are_one_line(folder, content, more, message, capsys):
    np.savez("set.npz", **content)
    assert message in refused("set.npz", *more, capsys=capsys)
    assert [p.name for p in folder.iterdir()] == ["set.npz"]


@pytest.mark.parametrize(("source", "message"), [
    ("absent.npz", "data: there is no file absent.npz"),
    ("nonsense", "SOURCE: there is no folder nonsense; a folder of images, digits, fashion-mnist, torchvision:NAME"),
    ("torchvision:Nonsense", "torchvision.datasets has no data set 'Nonsense'"),
])  # fmt: skip
def test_unknown_sources(source, message, capsys):
    pytest.importorskip("torchvision")
    assert message in refused(source, capsys=capsys)


def test_long_curves_are_thinned_out():
    depth = np.array([0, 5000], np.int32)
    ks = report.curve_ks(depth, 4321)
    assert ks[:100] == list(range(1, 101)) and ks[-1] == 5001 and 4321 in ks and len(ks) < 350
    assert all(b > a and b <= max(a + 1, 1.021 * a) for a, b in itertools.pairwise(ks))
    assert report.curve_ks(depth, 10**6)[-1] == 10**6
    assert report.curve_ks(np.zeros(3, np.int32), 1) == [1]
