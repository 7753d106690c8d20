"""The k-filter as a sampler: `fit_resample`, as imbalanced-learn defines it, without needing imbalanced-learn."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.utils import InputTags, Tags, _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from effdl_fast import metrics
from effdl_fast.ops._neighbours import METRICS

AS_THEY_ARE = (np.float16, np.float32, np.float64, np.uint8)  # what the ops take; other numbers become float64


class KFilter(OneToOneFeatureMixin, BaseEstimator):
    """Leaves out the samples whose k nearest neighbours all belong to their own class (thesis section 5.4).

    What is left lies along the boundaries between classes. Of imbalanced-learn's methods it is the complement of
    `EditedNearestNeighbours(n_neighbors=k, kind_sel="all", sampling_strategy="all")`, which keeps what this leaves out.
    It works in imbalanced-learn's pipelines.

    Parameters
    ----------
    k : int, default=20
        Number of neighbours. The sample itself is not counted, its duplicates are. Smaller k leave out more. Where a
        class has k samples or fewer, all of it is kept.
    metric : {"l2", "cosine", "inner_product"}, default="l2"
        What "near" means; see `effdl_fast.ops.redundancy_depth`.
    batch_size : int or None, default=None
        None finds neighbours among all samples, a number in random mini-batches of about this size, as the thesis does
        (about 6,000); see `effdl_fast.metrics.mini_batches`.
    random_state : int, RandomState instance or None, default=None
        Of the mini-batches; without batch_size nothing is drawn.

    Attributes
    ----------
    sample_indices_ : ndarray of shape (n_kept,), int64
        The samples kept, ascending.
    sampling_strategy_ : dict
        How many samples of each class are kept.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    Examples
    --------
    >>> from effdl_fast.sklearn import KFilter
    >>> X_kept, y_kept = KFilter(k=5).fit_resample(X, y)
    """

    _estimator_type = "sampler"  # what imbalanced-learn's is_sampler looks at
    _parameter_constraints = {  # noqa: RUF012  scikit-learn's name for it
        "k": [Interval(Integral, 1, (1 << 31) - 1, closed="both")],
        "metric": [StrOptions(set(METRICS))],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self, k: int = 20, *, metric: str = "l2", batch_size: int | None = None, random_state: Any = None
    ) -> None:
        self.k = k
        self.metric = metric
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> KFilter:
        """Finds the samples to keep.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Numbers. A sparse matrix is expanded. Integers other than uint8 become float64.
        y : array-like of shape (n_samples,)
            Class labels, two classes at least; or one-vs-all, of shape (n_samples, n_classes) with a one in each row.

        Returns
        -------
        self : KFilter
        """
        self._validate_params()
        for name in ("k", "batch_size"):  # bool is an Integral too
            if isinstance(getattr(self, name), bool):
                raise TypeError(f"KFilter: {name} must be an integer, got bool")
        if y is None:
            raise ValueError("KFilter requires y to be passed, but the target y is None")
        check_classification_targets(y)
        X, labels = validate_data(self, X, _one_column(y), accept_sparse=["csr", "csc"], reset=True)
        classes, index = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError("KFilter needs samples of two classes at least, as y has one class all are redundant")
        X = X.toarray() if issparse(X) else X
        if X.dtype not in AS_THEY_ARE:
            X = X.astype(np.float64)
        seed = None
        if self.batch_size is not None:
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        kept = metrics.k_filter(X, index, int(self.k), self.batch_size, metric=self.metric, generator=seed)
        self.sample_indices_ = kept.numpy()
        counts = np.bincount(index[self.sample_indices_], minlength=len(classes))
        self.sampling_strategy_ = dict(zip(classes.tolist(), counts.tolist(), strict=True))
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Leaves out the redundant samples.

        Parameters
        ----------
        X, y
            As of `fit`.

        Returns
        -------
        X_resampled, y_resampled
            The rows of X and y that are kept, in their order: of the same types and dtypes, and of a DataFrame or
            Series with their labels.
        """
        self.fit(X, y)
        return _rows(X, self.sample_indices_), _rows(y, self.sample_indices_)

    def __sklearn_tags__(self) -> Tags:
        base = super().__sklearn_tags__()
        inputs = _SamplerInputTags(**_values(base.input_tags), dataframe=True)
        inputs.sparse = True
        tags = _SamplerTags(**{**_values(base), "input_tags": inputs}, sampler_tags=_Sampler(sample_indices=True))
        tags.estimator_type = "sampler"
        tags.target_tags.required = True
        return tags


# The tags of a sampler, by which imbalanced-learn's checks choose what to check.
@dataclass
class _Sampler:
    sample_indices: bool


@dataclass
class _SamplerInputTags(InputTags):
    dataframe: bool = False


@dataclass
class _SamplerTags(Tags):
    sampler_tags: _Sampler | None = None


def _values(tags: Any) -> dict[str, Any]:
    return {field.name: getattr(tags, field.name) for field in fields(tags)}


def _one_column(y: Any) -> Any:
    """Labels (n_samples,); those encoded one-vs-all as the places of their ones."""
    if type_of_target(y) != "multilabel-indicator":
        return column_or_1d(y)
    dense = y.toarray() if issparse(y) else np.asarray(y)
    if (dense.sum(axis=1) != 1).any():
        raise ValueError("Multilabel and multioutput targets are not supported.")
    return dense.argmax(axis=1)


def _rows(array: Any, indices: np.ndarray) -> Any:
    if issparse(array) and array.format not in ("csr", "csc"):
        return array.tocsr()[indices].asformat(array.format)
    return _safe_indexing(array, indices)
