"""KFilter: the checks of scikit-learn and imbalanced-learn, and the same samples as imbalanced-learn finds."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("sklearn", minversion="1.6")

from scipy import sparse
from sklearn.base import clone
from sklearn.utils import estimator_checks

import effdl_fast as ef
from effdl_fast.sklearn import KFilter

from .test_filtering import blobs

try:
    import imblearn
except ImportError:
    imblearn = None

needs_imblearn = pytest.mark.skipif(imblearn is None, reason="imbalanced-learn is not installed")
ESTIMATORS = (KFilter(), KFilter(3, batch_size=300, random_state=0), KFilter(1, metric="cosine"))


def arrays(**more):
    x, y = blobs(**more)
    return x.double().numpy(), y.numpy()


def checks(generator):
    pairs = [pair for estimator in ESTIMATORS for pair in generator(estimator)]
    return [pytest.param(*pair, id=f"{pair[0]}-{getattr(pair[1], 'func', pair[1]).__name__}") for pair in pairs]


@pytest.mark.parametrize(("estimator", "check"), checks(estimator_checks.estimator_checks_generator))
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def imblearn_checks():
    if imblearn is None:
        return [pytest.param(None, None, marks=needs_imblearn)]
    from imblearn.utils.estimator_checks import estimator_checks_generator

    return checks(estimator_checks_generator)


@pytest.mark.parametrize(("estimator", "check"), imblearn_checks())
def test_checks_of_imbalanced_learn(estimator, check):
    check(estimator)


@needs_imblearn
def test_imbalanced_learn_chose_its_checks_of_samplers():
    names = {param.values[1].func.__name__ for param in imblearn_checks()}
    assert {"check_samplers_fit_resample", "check_samplers_sparse", "check_samplers_pandas"} <= names
    assert imblearn.base.is_sampler(KFilter()), "and takes it for a sampler"
    from imblearn.utils.estimator_checks import check_param_validation

    check_param_validation("KFilter", KFilter())


@needs_imblearn
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 3, 5, 20])
def test_the_redundant_are_those_that_edited_nearest_neighbours_keeps(seed, k):
    """Without ties both are exact; neither library knows of the other."""
    from imblearn.under_sampling import EditedNearestNeighbours

    x, y = arrays(
        n=1500, d=(2, 8, 20, 64)[seed], classes=(2, 3, 5, 10)[seed], spread=(0.7, 1.2, 1.5, 1.6)[seed], seed=seed
    )
    edited = EditedNearestNeighbours(n_neighbors=k, kind_sel="all", sampling_strategy="all").fit(x, y)
    edited.fit_resample(x, y)
    sampler = KFilter(k).fit(x, y)
    redundant = np.setdiff1d(np.arange(1500), sampler.sample_indices_)
    assert np.array_equal(redundant, np.sort(edited.sample_indices_))
    assert 0 < len(redundant) < 1500


@needs_imblearn
def test_in_a_pipeline():
    from imblearn.pipeline import make_pipeline
    from sklearn.neighbors import KNeighborsClassifier

    x, y = arrays(n=600)
    model = make_pipeline(KFilter(5), KNeighborsClassifier(1)).fit(x, y)
    kept = ef.metrics.k_filter(x, y, 5)
    assert model[-1].n_samples_fit_ == len(kept) < 600
    assert model.score(x[kept], y[kept]) == 1


def test_it_is_k_filter():
    x, y = arrays()
    sampler = KFilter(3)
    x_kept, y_kept = sampler.fit_resample(x, y)
    kept = ef.metrics.k_filter(x, y, 3).numpy()
    assert sampler.sample_indices_.dtype == np.int64 and np.array_equal(sampler.sample_indices_, kept)
    assert np.array_equal(x_kept, x[kept]) and np.array_equal(y_kept, y[kept])
    assert sampler.sampling_strategy_ == {c: int((y[kept] == c).sum()) for c in range(3)}
    assert np.array_equal(
        KFilter(3, metric="cosine").fit(x, y).sample_indices_, ef.metrics.k_filter(x, y, 3, metric="cosine")
    )
    again = pickle.loads(pickle.dumps(sampler))
    assert np.array_equal(again.sample_indices_, kept) and clone(sampler).get_params() == sampler.get_params()


def test_mini_batches_follow_random_state():
    x, y = arrays()

    def kept(state):
        return KFilter(3, batch_size=100, random_state=state).fit(x, y).sample_indices_.tolist()

    assert kept(0) == kept(0) == kept(np.random.RandomState(0)) != kept(1)
    assert len(kept(0)) > len(KFilter(3).fit(x, y).sample_indices_)
    before = np.random.get_state()[1].copy()
    KFilter(3).fit(x, y), kept(0)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int32", "bool"])
def test_dtypes_are_given_back(dtype):
    x, y = arrays(d=8)
    x = (100 + 20 * x).astype(dtype) if dtype != "bool" else x > 0
    x_kept, y_kept = KFilter(3).fit_resample(x, y)
    assert x_kept.dtype == x.dtype and y_kept.dtype == y.dtype
    assert np.array_equal(x_kept, x[ef.metrics.k_filter(x.astype(np.float64), y, 3)])


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "lil"])
def test_sparse_formats_are_given_back(format):
    x, y = arrays()
    x[np.abs(x) < 0.3] = 0
    x_kept, y_kept = KFilter(3).fit_resample(sparse.csr_array(x).asformat(format), y)
    assert x_kept.format == format
    dense, labels = KFilter(3).fit_resample(x, y)
    assert np.array_equal(x_kept.toarray(), dense) and np.array_equal(y_kept, labels)


def test_data_frames_keep_their_labels():
    pd = pytest.importorskip("pandas")
    x, y = arrays()
    frame = pd.DataFrame(x.astype(np.float32), columns=list("abcd"), index=[f"row {i}" for i in range(len(x))])
    labels = pd.Series(np.array(["no", "yes", "perhaps"])[y], index=frame.index, name="class", dtype="category")
    sampler = KFilter(3)
    x_kept, y_kept = sampler.fit_resample(frame, labels)
    pd.testing.assert_frame_equal(x_kept, frame.iloc[sampler.sample_indices_])
    pd.testing.assert_series_equal(y_kept, labels.iloc[sampler.sample_indices_])
    assert sampler.feature_names_in_.tolist() == list("abcd") == sampler.get_feature_names_out().tolist()
    assert set(sampler.sampling_strategy_) == {"no", "yes", "perhaps"}


def test_wrong_arguments():
    x, y = arrays()
    for settings, name in [
        ({"k": 0}, "k"),
        ({"k": 2.0}, "k"),
        ({"metric": "l1"}, "metric"),
        ({"batch_size": 0}, "batch_size"),
    ]:
        with pytest.raises(ValueError, match=f"The '{name}' parameter of KFilter must be"):
            KFilter(**settings).fit_resample(x, y)
    with pytest.raises(ValueError, match="one class"):
        KFilter().fit_resample(x, np.zeros(len(x), int))
    with pytest.raises(ValueError, match="Multilabel and multioutput targets are not supported"):
        KFilter().fit_resample(x, np.ones((len(x), 2), int))


@pytest.mark.parametrize("name", ["k", "batch_size"])
def test_a_bool_is_no_number(name):
    with pytest.raises(TypeError, match=f"KFilter: {name} must be an integer, got bool"):
        KFilter(**{name: True}).fit(np.eye(4), [0, 0, 1, 1])


def test_the_library_does_not_import_scikit_learn():
    code = (
        "import sys, effdl_fast as ef; assert 'sklearn' not in sys.modules; "
        "assert ef.sklearn.KFilter is __import__('effdl_fast.sklearn', fromlist=['x']).KFilter; "
        "assert 'imblearn' not in sys.modules; assert not hasattr(ef, 'nonsense')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_scikit_learn_the_message_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import effdl_fast as ef; ef.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (
        done.returncode == 1
        and "MissingPackageError: effdl_fast.sklearn needs scikit-learn; pip install" in done.stderr
    )
