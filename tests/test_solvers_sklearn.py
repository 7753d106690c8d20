"""PlatonicMLP and ELM as scikit-learn sees them: its checks of estimators, and what it does with estimators."""

from __future__ import annotations

import os
import re
import warnings

import pytest
import torch

np = pytest.importorskip("numpy")
sklearn = pytest.importorskip("sklearn", minversion="1.6")

from sklearn.utils import estimator_checks

from effdl_fast.solvers import ELM, PlatonicMLP

from .test_solvers_estimator import MODELS, TASKS, blobs, wave

ARRAY_API = "check_array_api_input"  # scikit-learn skips it for everyone where SCIPY_ARRAY_API is not set
WIDTHS = {PlatonicMLP: (8,), ELM: (100,)}  # 8 random units are too few for the least R^2 of scikit-learn's checks
MORE_CHECKS = (
    "check_dataframe_column_names_consistency",
    "check_n_features_in_after_fitting",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
)


# ---- scikit-learn's own checks ----


def generated(estimator):
    with warnings.catch_warnings():  # of an estimator that is none of its own classes
        warnings.simplefilter("ignore")
        return list(estimator_checks.estimator_checks_generator(estimator))


def own_checks():
    found = []
    for cls, widths in WIDTHS.items():
        for task in TASKS:
            estimator = cls(widths, task=task)
            for _, check in generated(estimator):
                name = getattr(check, "func", check).__name__
                if name != ARRAY_API or "SCIPY_ARRAY_API" in os.environ:
                    found.append(pytest.param(estimator, check, id=f"{cls.__name__}-{task}-{name}"))
    return found


@pytest.mark.parametrize(("estimator", "check"), own_checks())
def test_checks_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("cls", MODELS)
def test_check_estimator_skips_nothing_for_our_sake(cls):
    for task in TASKS:
        tags = cls(task=task).__sklearn_tags__()
        assert not (tags._skip_test or tags.no_validation or tags.non_deterministic or not tags.requires_fit)
        for of_kind in (tags.classifier_tags, tags.regressor_tags):
            assert of_kind is None or not of_kind.poor_score
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = estimator_checks.check_estimator(cls(WIDTHS[cls], task=task), on_skip=None)
        others = [r for r in results if r["status"] != "passed"]
        assert all(r["status"] == "skipped" for r in others), others
        assert all(re.search("is not installed|SCIPY_ARRAY_API is not set", str(r["exception"])) for r in others), (
            others
        )
        assert len(results) > 45


@pytest.mark.parametrize(
    "options",
    [
        {"projection": "pca", "ema": 0.2},
        {"projection": "pca", "first": "sorted_pca", "ema": 0.2, "task": "classification"},
        {"tries": 3, "task": "regression"},
        {"l2": "loo"},
        {"l2": "gcv", "task": "classification"},
        {"solver": "pinv", "task": "regression"},
        {"solver": "lstsq", "task": "classification"},
    ],
    ids=str,
)
def test_check_estimator_with_other_parameters(options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = estimator_checks.check_estimator(PlatonicMLP((8,), **options), on_skip=None, on_fail=None)
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"] == []


@pytest.mark.parametrize("name", MORE_CHECKS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cls", MODELS)
def test_checks_that_check_estimator_leaves_out(cls, task, name):
    pytest.importorskip("pandas")
    with warnings.catch_warnings():  # those of the output give arrays to what was fitted to a DataFrame
        warnings.simplefilter("ignore" if "output" in name else "error")
        getattr(estimator_checks, name)(cls.__name__, cls((8,), task=task))


def test_checks_with_polars():
    pytest.importorskip("polars")
    for name in ("check_set_output_transform_polars", "check_global_set_output_transform_polars"):
        for cls in (PlatonicMLP, ELM):
            getattr(estimator_checks, name)(cls.__name__, cls((8,)))


@pytest.mark.parametrize("cls", MODELS)
def test_kinds_by_task(cls):
    from sklearn.base import clone, is_classifier, is_regressor

    kinds = [(is_classifier(model), is_regressor(model)) for model in (cls(task=task) for task in TASKS)]
    assert kinds == [(True, False), (False, True), (False, False)]
    model = cls((5,), l2="gcv", seed=3)
    assert clone(model).get_params() == model.get_params() and not hasattr(clone(model), "output_")


def test_grid_search():
    from sklearn.model_selection import GridSearchCV

    x, y = blobs()
    labels = np.array(["ant", "bee", "cat"])[y]
    grid = {"hidden": [(4,), (8, 8)], "l2": [1e-3, 1e6]}
    search = GridSearchCV(PlatonicMLP(task="classification"), grid, cv=3, n_jobs=1, scoring="accuracy").fit(x, labels)
    assert search.best_params_["l2"] == 1e-3 and search.best_score_ > 0.9
    assert set(search.predict(x)) == {"ant", "bee", "cat"}


def test_pipeline():
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = blobs()
    pipe = make_pipeline(StandardScaler(), PlatonicMLP((16,), task="classification")).fit(1e4 * x + 1e6, y)
    assert pipe.score(1e4 * x + 1e6, y) > 0.9
    assert pipe[:-1].transform(x).shape == x.shape
    assert pipe.get_feature_names_out().tolist() == [f"platonicmlp{i}" for i in range(16)]
    pipe.set_params(platonicmlp__l2=1.0)
    assert pipe[-1].l2 == 1.0
    assert "PlatonicMLP" in pipe._repr_html_()
    middle = make_pipeline(ELM((12,), task="classification"), PlatonicMLP((4,), task="classification")).fit(x, y)
    assert middle[-1].n_features_in_ == 12, "its representation is what the next step gets"


def test_data_frames_of_representations():
    pandas = pytest.importorskip("pandas")
    from sklearn import config_context
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = blobs()
    frame = pandas.DataFrame(x, columns=list("abcdef"), index=range(7, 307))
    pipe = make_pipeline(StandardScaler(), PlatonicMLP((3,), task="classification")).set_output(transform="pandas")
    found = clone(pipe).fit(frame, y).transform(frame)
    assert list(found.columns) == ["platonicmlp0", "platonicmlp1", "platonicmlp2"]
    assert list(found.index) == list(range(7, 307))
    model = PlatonicMLP((3,)).fit(x, y)
    with config_context(transform_output="pandas"):
        assert isinstance(model.transform(x), pandas.DataFrame)
        assert isinstance(model.transform(torch.from_numpy(x)), torch.Tensor)
        assert isinstance(model.set_output(transform="default").transform(x), np.ndarray)
    with pytest.raises(ValueError, match="transform must be one of default, pandas, polars or None, got 'list'"):
        model.set_output(transform="list")


def test_cross_validation():
    from sklearn.model_selection import cross_val_predict, cross_val_score

    x, y = wave()
    scores = cross_val_score(PlatonicMLP((24,), task="regression"), x, y, cv=4)
    assert scores.shape == (4,) and scores.min() > 0.7
    x, y = blobs(classes=2)
    model = PlatonicMLP((16,), task="classification")
    assert cross_val_score(model, x, y, scoring="roc_auc").min() > 0.9, "by decision_function"
    assert not hasattr(model, "predict_proba")
    with pytest.raises((AttributeError, ValueError), match="predict_proba"):
        cross_val_predict(model, x, y, method="predict_proba")


def test_calibration_and_voting():
    """Meta-estimators that look at kinds, classes_ and decision_function."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import BaggingRegressor, VotingClassifier

    x, y = blobs()
    model = PlatonicMLP((16,), task="classification")
    probability = CalibratedClassifierCV(model, cv=3).fit(x, y).predict_proba(x)
    assert probability.shape == (300, 3) and np.allclose(probability.sum(1), 1)
    voting = VotingClassifier([("a", model), ("b", ELM((50,), task="classification"))]).fit(x, y)
    assert voting.score(x, y) > 0.9
    x, y = wave()
    assert BaggingRegressor(PlatonicMLP((16,), task="regression"), n_estimators=3).fit(x, y).score(x, y) > 0.7


def test_not_fitted_and_columns_are_scikit_learns_own_classes():
    from sklearn.exceptions import DataConversionWarning, NotFittedError

    x, y = blobs()
    model = PlatonicMLP((4,))
    for call in (model.predict, model.transform, model.decision_function, lambda _: model.score(x, y),
                 lambda _: model.to_module(), lambda _: model.save("nowhere")):  # fmt: skip
        with pytest.raises(NotFittedError, match="This PlatonicMLP instance is not fitted yet"):
            call(x)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        model.fit(x, y[:, None])
    assert model.predict(x).shape == (300,)
