"""The `effdl` command.

A new command is a function with `@app.command()`; what it needs beyond typer is imported inside it, so that `effdl
--help` stays quick. A command returns None or its exit code. Errors of the user (effdl_fast.errors.UserError,
CorruptDataError, and the command-line parser's own) become one line on stderr and exit code 2; EFFDL_DEBUG=1 in the
environment shows the traceback instead. Anything else is a defect and shows its traceback. Ctrl-C exits with 130.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

app = typer.Typer(name="effdl", add_completion=False, pretty_exceptions_enable=False)

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = app(args=arguments, prog_name="effdl", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except typer.Abort:
        code = INTERRUPTED
    except Exception as error:
        message = _user_message(error)
        if message is None or os.environ.get("EFFDL_DEBUG"):
            raise
        typer.echo(f"effdl: {message}", err=True)
        return USER_ERROR
    if code == INTERRUPTED:
        typer.echo("\neffdl: interrupted", err=True)
    return int(code or 0)


def _user_message(error: Exception) -> str | None:
    """One line for an error that is the user's to mend, None for a defect of the program."""
    if hasattr(error, "format_message"):  # the command-line parser's own errors, whichever parser typer was built on
        return " ".join(error.format_message().split())
    from effdl_fast.errors import CorruptDataError, UserError

    return " ".join(str(error).split()) if isinstance(error, (UserError, CorruptDataError)) else None


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """The systems of the thesis "Efficient Deep Learning" as fast compiled ops for PyTorch."""
    if version:
        import effdl_fast

        typer.echo(f"effdl {effdl_fast.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions, the SIMD level in use, how the extension was built, CUDA devices and threads."""
    facts = collect_info()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        typer.echo(f"{key.replace('_', ' '):<{width}}  {shown}")


def collect_info() -> dict[str, Any]:
    """What `effdl info` shows; values are strings, numbers, booleans and lists of strings."""
    import torch

    import effdl_fast
    from effdl_fast import _C

    build = _C.build_info()
    return {
        "effdl_fast": effdl_fast.__version__,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "compiler": build["compiler"],
        "simd_level": _C.simd_level(),
        "simd_levels_built": list(build["simd_levels"]),
        "cuda_built": build["cuda"],
        "cuda_version_built": build["cuda_version"],
        "cuda_archs_built": build["cuda_archs"],
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
    }


@app.command()
def demo(
    data: Annotated[str, typer.Option(help="digits, fashion-mnist, torchvision:NAME or an .npz file.")] = "digits",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each output layer.")] = 5,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: 100, fewer for large data.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    bench: Annotated[bool, typer.Option(help="Also run the op microbenchmarks.")] = True,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision data.")] = Path("data"),
    download: Annotated[bool, typer.Option(help="Let torchvision fetch its data.")] = False,
) -> None:
    """Train the network of Table 4.1 with compiled losses, benchmark the ops, and write a report."""
    from tqdm import tqdm

    from effdl_fast import data as datasets
    from effdl_fast import demo as program
    from effdl_fast.reproduce import plots, store
    from effdl_fast.reproduce.command import advance

    plots.require()
    store.require_folder(out)
    harness = find_harness() if bench else None
    loaded = datasets.load(data, root=data_root, download=download)
    epochs = epochs or program.default_epochs(loaded)
    with tqdm(total=program.total_epochs(seeds, epochs), unit="epoch", desc="training") as bar:
        result = program.train_all(loaded, seeds, epochs, progress=advance(bar))
    typer.echo(program.accuracy_table(result).to_text())
    rows = None
    if harness is not None:
        typer.echo("\nbenchmarking the ops ...")
        rows = harness.run(op=None, quick=True)
        typer.echo(program.benchmark_table(rows).to_text())
    if warning := program.busy_warning(result):
        typer.echo(warning.strip())
    typer.echo(f"\nreport: {program.write_report(result, rows, out)}")


@app.command()
def bench(
    op: Annotated[str | None, typer.Argument(help="One op; all without it.")] = None,
    quick: Annotated[bool, typer.Option(help="Fewer repetitions.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for results.")] = None,
    plot: Annotated[bool, typer.Option(help="Also draw plots.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit code 1 where a target is missed.")] = False,
) -> int:
    """Benchmark the ops against PyTorch."""
    return find_harness().main(op, quick, out, plot, strict=strict)


def find_harness() -> ModuleType:
    """The benchmark harness: inside the package of an installed wheel, beside the package in a source tree."""
    if importlib.util.find_spec("effdl_fast.benchmarks") is not None:
        return importlib.import_module("effdl_fast.benchmarks.harness")
    tree = Path(__file__).resolve().parents[1]
    if not (tree / "benchmarks" / "harness.py").is_file():
        from effdl_fast.errors import MissingFileError

        raise MissingFileError(f"the benchmarks are neither in the installed package nor in {tree / 'benchmarks'}")
    if str(tree) not in sys.path:
        sys.path.insert(0, str(tree))  # before any other folder called benchmarks
    return importlib.import_module("benchmarks.harness")


@app.command()
def reproduce(
    chapter: Annotated[str | None, typer.Argument(help="ch3, ch4 or ch5; the list without it.")] = None,
    experiment: Annotated[str | None, typer.Argument(help="One experiment; all without it.")] = None,
    quick: Annotated[bool, typer.Option(help="Seconds, on the digits: checks that all runs, proves nothing.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List chapters and experiments.")] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Instead of the plan's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the plan's.")] = None,
    options: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for an option of the plan.")] = None,
    data: Annotated[str | None, typer.Option(help="Instead of the plan's: see `effdl demo --help`.")] = None,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision data.")] = Path("data"),
    download: Annotated[bool, typer.Option(help="Let torchvision fetch its data.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of results; its finished trials are kept.")] = Path("results"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes cuda where there is one.")] = "auto",
) -> None:
    """Reproduce the thesis's tables and figures."""
    from effdl_fast.reproduce import command

    if show_list or chapter is None:
        typer.echo(command.listing(chapter))
        return
    overrides = command.Overrides(quick, trials, epochs, data, command.parse_options(options or []))
    source = command.Source(data_root, download)
    command.run_chapter(chapter, experiment, overrides, source, out, command.pick_device(device), typer.echo)


@app.command()
def compress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A .safetensors file, or one of torch.save (.pt).")],
    target: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="IN with .efw without it.")] = None,
    floor: Annotated[float, typer.Option(help="c: bits above the entropy; 5 is the smaller choice.")] = 6,
    entropy_bits: Annotated[int, typer.Option(help="M: bits of the quantizer that estimates the entropy.")] = 4,
    sample: Annotated[float, typer.Option(help="F: the part of each tensor that it looks at.")] = 0.03,
    seed: Annotated[int, typer.Option(help="Of the choice of that part.")] = 0,
    codec: Annotated[str, typer.Option(help="huffman, rans, fixed, auto (smallest) or raw (lossless).")] = "huffman",
    nonfinite: Annotated[str, typer.Option(help="error, or raw: keep tensors with NaN or infinity.")] = "error",
    force: Annotated[bool, typer.Option(help="Replace OUT if it exists.")] = False,
) -> None:
    """Compress the weights in a file, about 4 to 9 times (thesis chapter 3)."""
    from effdl_fast.compress import command, inspect

    command.require_input(source)
    target = command.output_of(source, target, command.SUFFIX, force)
    with _bytes_bar(source.stat().st_size, "compressing") as bar:
        command.compress_file(
            source, target, bar.update, floor=floor, entropy_bits=entropy_bits, sample=sample, seed=seed, codec=codec,
            nonfinite=nonfinite,
        )  # fmt: skip
    before, after = source.stat().st_size, target.stat().st_size
    typer.echo(f"{source}: {before:,} bytes -> {target}: {after:,} bytes ({before / after:.2f} times smaller)")
    typer.echo(command.summary(inspect(target)))


@app.command()
def decompress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A file of `effdl compress`.")],
    target: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help=".safetensors or .pt; IN with .safetensors without it.")
    ] = None,
    max_elements: Annotated[
        int | None,
        typer.Option(min=0, help="Refuse a file of more; without it, one of over 1 GiB and 1000 times its size."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace OUT if it exists.")] = False,
) -> None:
    """Turn a compressed file into a .safetensors or .pt file again."""
    from effdl_fast.compress import command

    command.require_input(source)
    target = command.output_of(source, target, command.SAFETENSORS, force)
    with _bytes_bar(command.original_bytes(source), "decompressing") as bar:
        command.decompress_file(source, target, bar.update, max_elements)
    typer.echo(f"{source}: {source.stat().st_size:,} bytes -> {target}: {target.stat().st_size:,} bytes")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A file of `effdl compress`.")],
    verify: Annotated[bool, typer.Option(help="Also compare the checksum of every tensor.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a compressed file holds: codec, bits, bytes, ratio and largest error of each tensor."""
    from effdl_fast.compress import command
    from effdl_fast.compress import inspect as look

    command.require_input(file)
    inspection = look(file, verify=verify)
    typer.echo(command.to_json(inspection) if as_json else command.table(inspection))


@app.command("filter")
def filter_samples(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="data.npz (x_train and y_train, or x and y), a folder with a folder of images for each class, "
            "torchvision:NAME, fashion-mnist or digits; the training part of those that have one.",
        ),
    ],
    k: Annotated[
        int,
        typer.Option(min=1, max=2**31 - 1, help="Leave out samples whose k nearest neighbours all have their class."),
    ] = 20,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, max=2**62 - 1, help="Neighbours in random mini-batches of about this size; else among all."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="l2, cosine or inner_product.")] = "l2",
    out: Annotated[Path, typer.Option(help="Folder of kept.npy, depth.npy and the report.")] = Path("filtered"),
    size: Annotated[
        int, typer.Option(min=1, max=4096, help="Height and width that images of a folder are brought to.")
    ] = 32,
    seed: Annotated[int, typer.Option(min=0, max=2**62 - 1, help="Of the mini-batches.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace files in the folder.")] = False,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision data.")] = Path("data"),
    download: Annotated[bool, typer.Option(help="Let torchvision fetch its data.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes cuda where there is one.")] = "auto",
) -> None:
    """Find the samples that say nothing about the boundaries between classes (thesis section 5.4), and report."""
    from tqdm import tqdm

    from effdl_fast.filter import command, report
    from effdl_fast.filter import source as sources
    from effdl_fast.reproduce import plots
    from effdl_fast.reproduce.command import pick_device

    plots.require()
    command.require(out, metric, force)
    chosen = pick_device(device)
    with tqdm(unit="image", desc="reading", disable=None, delay=1) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        loaded = sources.load(source, size=size, root=data_root, download=download, progress=advance)
    with tqdm(total=len(loaded.stored.y), unit="sample", desc="finding neighbours", disable=None) as bar:
        filtered = command.run(loaded, command.Settings(k, metric, batch_size, seed), chosen, bar.update)
    told = report.facts(filtered)
    command.write(filtered, out, report.html(filtered, told), told)
    typer.echo(command.summary(filtered))
    typer.echo(f"\nreport: {out / command.HTML}")


@app.command("fit")
def fit_network(
    data: Annotated[str, typer.Argument(metavar="DATA", help="digits, fashion-mnist, torchvision:NAME or FILE.npz.")],
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers, or none.", show_default="784,392; 784 with --elm")
    ] = None,
    activation: Annotated[str | None, typer.Option(help="relu, celu, tanh, ...", show_default="relu")] = None,
    projection: Annotated[str | None, typer.Option(help="pca (Platonic PCA) or random.", show_default="pca")] = None,
    first: Annotated[
        str | None,
        typer.Option(help="First layer: sorted_pca, or none for what the others have.", show_default="sorted_pca"),
    ] = None,
    solver: Annotated[str | None, typer.Option(help="ridge, lstsq or pinv.", show_default="ridge")] = None,
    alpha: Annotated[float | None, typer.Option(help="Scale of the hidden targets.", show_default="1")] = None,
    beta: Annotated[
        float | None, typer.Option(help="Weight of the classes in them.", show_default="1e7; 10 for random")
    ] = None,
    l2: Annotated[str | None, typer.Option(help="The ridge: a number, gcv or loo.", show_default="0.03")] = None,
    tries: Annotated[
        int | None, typer.Option(min=1, help="Random projections tried for each layer.", show_default="1")
    ] = None,
    ema: Annotated[
        str | None, typer.Option(help="Lambda of the weights of samples, or none; pca only.", show_default="0.2")
    ] = None,
    mixing: Annotated[
        float | None,
        typer.Option(min=0, help="Share of the classes in units after the first; pca only.", show_default="3"),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.", show_default="float32")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**62 - 1, help="Of all that is random.")] = 0,
    elm: Annotated[bool, typer.Option("--elm", help="Random hidden weights (extreme learning machine).")] = False,
    standardize: Annotated[
        bool, typer.Option(help="(x - mean) / (std + 0.01 of the range) of each feature, in the first layer.")
    ] = True,
    out: Annotated[Path, typer.Option(help="File of the network.")] = Path("model.safetensors"),
    force: Annotated[bool, typer.Option(help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision data.")] = Path("data"),
    download: Annotated[bool, typer.Option(help="Let torchvision fetch its data.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes cuda where there is one.")] = "auto",
) -> None:
    """Fit a network to a data set in closed form, layer by layer, without gradients (thesis chapter 7)."""
    from tqdm import tqdm

    from effdl_fast import data as datasets
    from effdl_fast.fit import command
    from effdl_fast.reproduce.command import pick_device

    options = {"hidden": hidden, "activation": activation, "projection": projection, "first": first, "solver": solver,
               "alpha": alpha, "beta": beta, "l2": l2, "tries": tries, "ema": ema, "mixing": mixing, "dtype": dtype,
               "seed": seed}  # fmt: skip
    model = command.make_model(options, elm=elm)
    command.require(out, force)
    chosen = pick_device(device)
    loaded = datasets.load(data, root=data_root, download=download)
    if not as_json:
        typer.echo(command.describe(loaded))
    with tqdm(total=command.layers(model), unit="layer", desc="fitting", disable=None) as bar:
        fitted = command.run(loaded, model, chosen, standardise=standardize, progress=command.advance(bar))
    command.save(fitted, out)
    if as_json:
        typer.echo(command.to_json(command.facts(fitted, out)))
        return
    typer.echo(command.table(fitted).to_text())
    typer.echo(command.summary(fitted, out))


def _bytes_bar(total: int, what: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="B", unit_scale=True, desc=what, disable=None)  # only on a terminal


if __name__ == "__main__":
    sys.exit(main())
