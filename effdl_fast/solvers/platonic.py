"""Multilayer perceptrons in closed form (thesis chapter 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from effdl_fast.ops._arguments import integer, number
from effdl_fast.solvers._checks import at_least, common, one_of, several_passes, widths
from effdl_fast.solvers._closed_form import ClosedFormMLP
from effdl_fast.solvers._fitting import Plan
from effdl_fast.solvers._growth import Grow

BETA = {"random": 10.0, "pca": 1e7}  # where none is given (sections 7.9.2, 7.9.3)
BETA_EXACT = 1e4  # of exact PCA (7.9.2), which float64 can tell from rounding


class PlatonicMLP(ClosedFormMLP):
    """A multilayer perceptron fitted layer by layer by least squares, without gradients (thesis chapter 7).

    With Z the representation so far (m, n), a column of ones first, and Y the targets (m, c), a hidden layer has the
    weights W = Z^+ T of the targets T = alpha [Z, beta Y] P, and the last layer Z^+ Y (sections 7.3.2 and 7.5, Fig.
    7.3, where `Z_0` is x). Classes are one-hot columns of Y, two classes one column of -1 and +1.

    It is an estimator as scikit-learn knows them, and takes NumPy arrays and tensors, on the CPU or a CUDA device.
    By default no T, and no representation that is large, is ever in memory: with G = Z'Z and C = Z'Y,
    W = (G + l2 I)^-1 alpha [G, beta C] P, and G and C are sums over samples, in blocks, batches or ranks.

    Parameters
    ----------
    hidden : sequence of int or Grow, default=(100,)
        Widths of the hidden layers, any number of them; none gives a linear model.
    activation : str, torch.nn.Module or function of a tensor, default="relu"
        relu, celu, tanh, sigmoid, leaky_relu, identity (compiled), elu, gelu, selu, silu, softplus, softsign, hardtanh,
        mish, or any module or function that works element by element.
    projection : {"random", "pca"}, default="random"
        P: random normal (section 7.5), or Platonic PCA, the principal components of [Z, beta Y] (7.8.1).
    first : {None, "sorted_pca"}, default=None
        What the first hidden layer has in place of `projection`: "sorted_pca" takes samples as weights, without a bias,
        evenly spaced along the first principal component (7.8.2, Fig. 7.14).
    solver : {"ridge", "lstsq", "pinv"}, default="ridge"
        "ridge" solves by moments, in float64; where their condition number asks for it, by products in float64 too or
        by a triangular factor of the samples (`history_` says by which). "pinv" and "lstsq" are the thesis's own: T is
        formed in the dtype of X, in memory (sections 7.5, 7.6.2); from a loader both go by a triangular factor in
        float64.
    alpha, beta : float
        Scaling of T (7.5.2). beta=None: 10 for random projections, 1e7 for PCA, 1e4 for
        PCA without mixing.
    l2 : float or {"gcv", "loo"}, default=1e-3
        Added to the diagonal of Z'Z ("ridge" only), that of the bias too: centre values that lie far from 0. "gcv": for
        each layer what generalised cross-validation of the best linear map to Y finds, from one eigendecomposition;
        "loo": by leaving out each sample, exactly, at the cost of a pass.
    tries : int, default=1
        Random projections tried for each layer; the one whose output has the lowest least squares distance is kept
        (7.5.1).
    ema : float or None, default=None
        lambda of the re-weighting of samples for PCA (7.9.3): d <- lambda d + (1 - lambda) e, with the squared error e
        of each sample after each hidden layer; d multiplies Y in T. 0.2 gives the figures of thesis Table 7.3 (its
        caption says 0.02).
    mixing : float, default=3.0
        Of PCA. 0 is exact: components after the first c hold what is left of Z within classes, n + c units at most.
        Above 0 is what single precision makes of PCA with beta large, as the thesis has it: components after the first
        c are random directions, with Y in them at random, `mixing` times as large as Z. It is better; 10 comes
        nearest to thesis Table 7.3, 3 does better where layers are many or wide (docs/solvers.md).
    atol : float or None, default=None
        Singular values up to this count as 0 ("pinv"); None: PyTorch's own tolerance.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto": floating y are values, anything else labels.
    track_accuracy : bool, default=False
        Whether `history_` has the accuracy of each representation, which costs a pass.
    dtype : torch.float32, torch.float64 or None, default=None
        Of the network. None: X's, if it is one of these; uint8 and 16-bit samples become float32, others float64.
    device : torch.device, str or None, default=None
        None: where X is.
    seed : int or None, default=0
        Of all that is random. None: another one each time.

    Attributes
    ----------
    history_ : list of LayerRecord
        One for each representation from the input on: width, least squares distance, condition number, how it was
        solved, l2, accuracy.
    classes_ : ndarray
        Labels, ascending; of classifiers only.
    n_features_in_ : int
        Features of a flattened sample.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of a DataFrame, where all of them are strings.

    Examples
    --------
    >>> model = PlatonicMLP((784, 392), first="sorted_pca", projection="pca", ema=0.2, l2=0.03)
    >>> model.fit(X, y)
    >>> model.score(X_test, y_test)
    >>> model.save("mnist.safetensors")
    >>> module = PlatonicMLP.load("mnist.safetensors").to_module()  # torch.nn.Sequential, for backpropagation
    """

    def __init__(
        self,
        hidden: Sequence[int | Grow] = (100,),
        *,
        activation: Any = "relu",
        projection: str = "random",
        first: str | None = None,
        solver: str = "ridge",
        alpha: float = 1.0,
        beta: float | None = None,
        l2: float | str = 1e-3,
        tries: int = 1,
        ema: float | None = None,
        mixing: float = 3.0,
        atol: float | None = None,
        task: str = "auto",
        track_accuracy: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.projection = projection
        self.first = first
        self.solver = solver
        self.alpha = alpha
        self.beta = beta
        self.l2 = l2
        self.tries = tries
        self.ema = ema
        self.mixing = mixing
        self.atol = atol
        self.task = task
        self.track_accuracy = track_accuracy
        self.dtype = dtype
        self.device = device
        self.seed = seed

    # ---- parameters ----

    def _plan(self) -> Plan:
        name = type(self).__name__
        beta = self.beta
        if beta is None:
            beta = BETA_EXACT if self.projection == "pca" and self.mixing == 0 else BETA.get(self.projection, 1.0)
        one_of(name, "projection", self.projection, tuple(BETA))
        one_of(name, "first", self.first, (None, "sorted_pca"))
        if self.ema is not None and not 0.0 <= number(name, "ema", self.ema) <= 1.0:
            raise ValueError(f"{name}: ema must be from 0 to 1, got {self.ema}")
        return Plan(
            projection=self.projection,
            first=self.first,
            alpha=number(name, "alpha", self.alpha),
            beta=number(name, "beta", beta),
            tries=integer(name, "tries", self.tries, 1, 1 << 20),
            ema=None if self.ema is None or self.projection != "pca" else float(self.ema),
            mixing=at_least(name, "mixing", self.mixing, 0.0),
            **common(name, self),
        )

    def _passes(self) -> bool:
        weighed = self.projection == "pca" and self.ema is not None
        tried = self.projection == "random" and self.tries != 1
        return bool(weighed or tried or self.first) or several_passes(self)

    def _widths(self) -> list[int | Grow]:
        return widths(type(self).__name__, self.hidden)
