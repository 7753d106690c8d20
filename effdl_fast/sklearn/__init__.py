"""Filters as estimators of scikit-learn (thesis section 5.4). Needs scikit-learn; imbalanced-learn is optional."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    from effdl_fast.errors import MissingPackageError

    raise MissingPackageError("effdl_fast.sklearn needs scikit-learn; pip install effdl-fast[sklearn]") from error

from effdl_fast.sklearn.k_filter import KFilter

__all__ = ["KFilter"]
