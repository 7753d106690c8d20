"""Figure 7.10 (sec. 7.7): a deep and a shallow network on the checkerboard, in single and double precision."""

from __future__ import annotations

import statistics
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.points import checkerboard
from effdl_fast.reproduce.ch7.parts.fits import DTYPES, classified, distances, fit_layers, thinned
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

SQUARES = 8
SCALING = {"alpha 0.06, beta 25": (0.06, 25.0), "alpha 0.08, beta 200": (0.08, 200.0)}
NETWORKS = ("deep", "shallow")
LOWEST = 2.6e-22  # the error of "the deepest double-precision network"
SETTINGS: dict[str, dict[str, Any]] = {
    f"{network}, {scaling}, {dtype}, {solver}": {
        "network": network,
        "alpha": alpha,
        "beta": beta,
        "scaling": scaling,
        "dtype": dtype,
        "solver": {"pinv": "pinv", "moments": "ridge"}[solver],
    }
    for network in NETWORKS
    for scaling, (alpha, beta) in SCALING.items()
    for dtype, solver in (("float32", "pinv"), ("float64", "pinv"), ("float32", "moments"), ("float64", "moments"))
}
for _scaling in SCALING:  # the tolerance of section 7.6.2
    _setting = SETTINGS[f"deep, {_scaling}, float32, pinv"]
    SETTINGS[f"deep, {_scaling}, float32, pinv, tol 1e-5"] = {**_setting, "atol": 1e-5}


def run(trial: Trial) -> dict[str, Any]:
    """The least squares distance of each layer, and the accuracy of the whole network."""
    setting, options = trial.setting, trial.plan.options
    x, y = checkerboard(options["samples"], SQUARES, trial.seed)
    x = x.to(DTYPES[setting["dtype"]])
    hidden = (options[f"{setting['network']}_width"],) * options[f"{setting['network']}_layers"]
    model, records = fit_layers(
        x,
        y,
        hidden=hidden,
        activation="relu",
        alpha=setting["alpha"],
        beta=setting["beta"],
        solver=setting["solver"],
        atol=setting.get("atol"),
        l2=0.0,
        track_accuracy=True,
        seed=trial.seed,
    )
    found = distances(records)
    trial.tick(f"{len(found) - 1} layers")
    places, curve = thinned(found)
    accuracies = [100 * (record.accuracy or 0.0) for record in records]
    return {
        "layers": len(found) - 1,
        "lowest": min(found),
        "lowest_at": found.index(min(found)),
        "accuracy": None if model is None else round(classified(model, x, y)["accuracy"], 4),
        "best_accuracy": round(max(accuracies), 4),
        "all_right_at": next((i for i, a in enumerate(accuracies) if a == 100), None),
        "places": places,
        "lsd": curve,
    }


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label, setting in result.settings.items():
        run = result.of(label)[0]
        thesis = "100" if setting["network"] == "deep" else "99.88 to 100"
        lowest = f"{result.median(label, 'lowest'):.1e}"
        last = f"{statistics.median(run['lsd'][-1] for run in result.of(label)):.1e}"
        reached = [run["accuracy"], run["best_accuracy"], run["all_right_at"]]
        rows.append([label, run["layers"], thesis, *reached, lowest, last])
    columns = [
        "Network",
        "Layers",
        "Thesis %",
        "Accuracy %",
        "Best layer %",
        "100 % at layer",
        "Lowest MSE",
        "Last MSE",
    ]
    caption = (
        "Accuracy on the training points (seed 0), after the last layer and after the best one; the first layer after "
        "which all are right; MSEs: medians."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, Any] = {}
    options = result.plan["options"]
    for network in reversed(NETWORKS):
        for scaling in SCALING:
            lines = {}
            for label, setting in result.settings.items():
                if (setting["network"], setting["scaling"]) == (network, scaling):
                    run = result.of(label)[0]
                    lines[label.split(f"{scaling}, ")[1]] = (run["places"], [max(v, 1e-32) for v in run["lsd"]])
            size = f"{options[network + '_layers']} x {options[network + '_width']}"
            panels[f"{size}, {scaling}"] = lines
    caption = "Fig. 7.10: mean squared error after each layer (seed 0)."
    return [plots.curves("figure_7_10", caption, panels, x="layer", y="MSE", log_y=True, columns=2)]


def claims(result: Result) -> list[Claim]:
    out = []
    for label, setting in result.settings.items():
        if setting["solver"] != "pinv":
            continue
        run = result.of(label)[0]
        measured = "not finite" if run["accuracy"] is None else f"{run['accuracy']:.2f} %"
        if setting["network"] == "deep":
            out.append(Claim(f"{label}: accuracy", "100 %", measured, run["accuracy"] == 100))
        else:
            out.append(Claim(f"{label}: accuracy", "99.88 to 100 %", measured, (run["accuracy"] or 0) >= 99.88))
    lowest = min(
        result.median(label, "lowest")
        for label, s in result.settings.items()
        if (s["network"], s["dtype"], s["solver"]) == ("deep", "float64", "pinv")
    )
    out.append(Claim("deep, float64: lowest error", f"{LOWEST:g}", f"{lowest:.1e}", lowest < 100 * LOWEST))
    return out


WIDTH, LAYERS = Number(int, 1, 20_000), Number(int, 1, 10_000)
EXPERIMENT = Experiment(
    title="Checkerboard, deep and shallow",
    thesis="Fig. 7.10, sec. 7.7",
    about=(
        "5000 points of an 8 x 8 checkerboard on [-0.5, 0.5]^2 (sec. 5.4.2), ReLU, one try, labels -1 and 1. `pinv` "
        "forms the targets and takes the pseudo-inverse in the precision of the data, as the thesis; `moments` is "
        "PlatonicMLP's default without ridge."
    ),
    settings=SETTINGS,
    full=Plan(
        trials=1,
        epochs=1,
        options={"samples": 5000, "deep_width": 300, "deep_layers": 500, "shallow_width": 2500, "shallow_layers": 4},
    ),
    quick=Plan(
        trials=1,
        epochs=1,
        options={"samples": 300, "deep_width": 24, "deep_layers": 8, "shallow_width": 80, "shallow_layers": 2},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={
        "samples": Number(int, 50, 10**6),
        "deep_width": WIDTH,
        "deep_layers": LAYERS,
        "shallow_width": WIDTH,
        "shallow_layers": LAYERS,
    },
    heavy=True,
)
