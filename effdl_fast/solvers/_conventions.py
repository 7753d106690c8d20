"""scikit-learn's conventions, without needing scikit-learn: parameters, tags, names of features, warnings."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

CONTAINERS = ("default", "pandas", "polars")
SHOWN = 5  # names of features that a message lists


class Conventions:
    """What scikit-learn expects of an estimator besides its methods; the parameters are those of __init__."""

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; `deep` is there for scikit-learn."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Changes parameters; returns self. ValueError for one that there is not, and nothing is changed."""
        known = self._names()
        for name in params:
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {known!r}.")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        shown = [f"{name}={value!r}" for name, value in self.get_params().items()
                 if name == "hidden" or (value is not defaults[name] and value != defaults[name])]  # fmt: skip
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn: a classifier or a regressor as `task` says, neither where the targets decide."""
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags, TransformerTags

        task, dtype = getattr(self, "task", None), getattr(self, "dtype", None)
        return Tags(
            estimator_type={"classification": "classifier", "regression": "regressor"}.get(str(task)),
            target_tags=TargetTags(required=True, multi_output=task != "classification"),
            transformer_tags=TransformerTags(["float64", "float32"] if dtype is None else [str(dtype)[6:]]),
            classifier_tags=ClassifierTags() if task == "classification" else None,
            regressor_tags=RegressorTags() if task == "regression" else None,
        )

    feature_names_in_: np.ndarray  # object (n_features_in_,), where X was a DataFrame with names that are all strings

    def _take_names(self, names: np.ndarray | None) -> None:
        """Those of the samples that the network is fitted to."""
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_names(self, X: Any) -> None:
        """ValueError where the features of X have other names than those fitted to; a warning where only one has."""
        given, fitted, name = names_of(X), getattr(self, "feature_names_in_", None), type(self).__name__
        if given is None and fitted is not None:
            warnings.warn(f"X does not have valid feature names, but {name} was fitted with feature names",
                          UserWarning, stacklevel=2)  # fmt: skip
        elif given is not None and fitted is None:
            warnings.warn(f"X has feature names, but {name} was fitted without feature names",
                          UserWarning, stacklevel=2)  # fmt: skip
        elif given is not None and fitted is not None and given.tolist() != fitted.tolist():
            raise ValueError(_mismatch(set(given), set(fitted)))

    def _check_input_names(self, names: Any, features: int) -> None:
        fitted = getattr(self, "feature_names_in_", None)
        if names is None:
            return
        if fitted is not None and list(names) != fitted.tolist():
            raise ValueError("input_features is not equal to feature_names_in_")
        if len(names) != features:
            raise ValueError("input_features should have length equal to number of features "
                             f"({features}), got {len(names)}")  # fmt: skip

    def set_output(self, *, transform: str | None = None) -> Any:
        """What `transform` gives: "default" (arrays), "pandas" or "polars" (DataFrames); None changes nothing.

        Without it scikit-learn's `set_config(transform_output=...)` decides. Tensors give tensors in any case.
        """
        if transform not in (None, *CONTAINERS):
            raise ValueError(f"set_output: transform must be one of {', '.join(CONTAINERS)} or None, got {transform!r}")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # by this name scikit-learn's clone copies it
        return self

    def _contained(self, z: np.ndarray, X: Any, names: np.ndarray) -> Any:
        """z as `set_output` wants it."""
        sklearn = sys.modules.get("sklearn")
        general = "default" if sklearn is None else sklearn.get_config().get("transform_output", "default")
        container = getattr(self, "_sklearn_output_config", {}).get("transform", general)
        if container == "pandas":
            import pandas

            return pandas.DataFrame(z, index=X.index if isinstance(X, pandas.DataFrame) else None, columns=names)
        if container == "polars":
            import polars

            return polars.DataFrame(z, schema=list(names), orient="row")
        return z


def names_of(X: Any) -> np.ndarray | None:
    """The columns of a DataFrame, where they are all strings. TypeError where only some are."""
    columns = getattr(X, "columns", None)
    if not hasattr(X, "__array__") or not isinstance(columns, Iterable):
        return None
    names = np.empty(len(found := list(columns)), dtype=object)
    names[:] = found
    types = sorted({type(name).__qualname__ for name in found})
    if len(types) > 1 and "str" in types:
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{types} as feature name / column name types. If you want feature names to be stored and validated, you "
            "must convert them all to strings, by using X.columns = X.columns.astype(str) for example. Otherwise you "
            "can remove feature / column names from your input data, or convert them all to a non-string data type."
        )
    return names if types == ["str"] else None


def _mismatch(given: set[str], fitted: set[str]) -> str:
    message = "The feature names should match those that were passed during fit.\n"
    for what, names in (("unseen at fit time", given - fitted), ("seen at fit time, yet now missing", fitted - given)):
        if names:
            listed = [f"- {name}\n" for name in sorted(names)[:SHOWN]]
            message += f"Feature names {what}:\n{''.join(listed)}" + ("- ...\n" if len(names) > SHOWN else "")
    if given == fitted:
        message += "Feature names must be in the same order as they were in fit.\n"
    return message


def not_fitted(name: str) -> Exception:
    """scikit-learn's NotFittedError, or, without scikit-learn, the ValueError that it derives from."""
    message = (
        f"This {name} instance is not fitted yet. Call 'fit' with appropriate arguments before using this estimator."
    )
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return ValueError(message)
    return NotFittedError(message)


def warn_of_column() -> None:
    """Of labels (m, 1): scikit-learn's DataConversionWarning, without scikit-learn a UserWarning, its base."""
    category: type[Warning] = UserWarning
    try:
        from sklearn.exceptions import DataConversionWarning

        category = DataConversionWarning
    except ImportError:
        pass
    warnings.warn("A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                  "(n_samples, ), for example using ravel().", category, stacklevel=2)  # fmt: skip
