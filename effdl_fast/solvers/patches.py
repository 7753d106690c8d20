"""A convolutional first layer without gradients: patches of the images themselves as filters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from effdl_fast.ops._arguments import integer
from effdl_fast.solvers._checks import at_least
from effdl_fast.solvers._layers import row_blocks

OP = "PatchFeatures"
PATCHES = 50_000  # drawn to find means and covariances
IMAGES = {"cpu": 8, "cuda": 256}  # at a time: what the cache holds
CONTRAST = 10.0 / 255.0**2  # added to the variance of a patch, of images brought to a range of 1
BUFFERS = ("kernel", "bias", "range", "mean", "scale")


class PatchFeatures(nn.Module):
    """Features (m, 2 filters pool^2) of images (m, channels, height, width), to be the input of PlatonicMLP.

    What Sorted PCA does for vectors (thesis section 7.8.2), weights that are samples, for patches: each patch of an
    image is normalised (mean, variance) and whitened, and multiplied with `filters` whitened patches of the training
    images, drawn at random; both signs pass ReLU, and the averages over a grid of pool x pool cells are the features,
    standardised. That is the single-layer network of Coates, Lee and Ng (2011) and Coates and Ng (2011), which thesis
    section 7.10.3 (future work 8) asks for. On CIFAR-10 it is worth far more than hidden layers (docs/solvers.md).

    Args:
        filters: how many.
        size: side of a patch in pixels.
        pool: cells in each direction.
        whiten: what is added to the eigenvalues of the patches' covariance, 0 or more, as a share of their mean;
            directions in which patches do not vary count for nothing.
        seed: of the patches drawn.

    `fit(images)` finds the filters; the module is then a function of images, moves to devices, and can be put before
    `PlatonicMLP.to_module()` in a torch.nn.Sequential. Filters are buffers: nothing is trained, and no gradient flows
    to the images. `load_state_dict` restores them also where nothing was fitted. Images are divided by the range of
    those fitted to, so that features of images on another scale, fitted anew, are the same.
    """

    kernel: Tensor
    bias: Tensor
    range: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, filters: int = 256, *, size: int = 6, pool: int = 2, whiten: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        self.filters = integer(OP, "filters", filters, 1, 1 << 20)
        self.size = integer(OP, "size", size, 1, 1 << 10)
        self.pool = integer(OP, "pool", pool, 1, 1 << 10)
        self.whiten = at_least(OP, "whiten", whiten, 0.0)
        self.seed = integer(OP, "seed", seed, 0, (1 << 63) - 1)
        for name in BUFFERS:
            self.register_buffer(name, None)

    def fit(self, X: Any, y: Any = None) -> PatchFeatures:
        """Draws the filters from images X, (m, channels, height, width) or (m, height, width), floating or uint8.

        y is ignored. Raises ValueError for no images, images smaller than a patch or a cell, patches of one value, and
        NaN or infinity.
        """
        images = self._images(X)
        if len(images) == 0:
            raise ValueError(f"{OP}: X has no images")
        if images.shape[1] * self.size**2 < 2:
            raise ValueError(f"{OP}: size must be at least 2 for images of one channel; a patch needs two values")
        side = min(images.shape[2:]) - self.size + 1
        if side < self.pool:
            raise ValueError(f"{OP}: images of {tuple(images.shape[2:])} pixels have no {self.pool} x {self.pool} "
                             f"cells of patches of {self.size} x {self.size}")  # fmt: skip
        span = images.amax() - images.amin()
        if not bool(torch.isfinite(span)):
            raise ValueError(f"{OP}: X contains NaN or infinity, or values too far from each other for {images.dtype}")
        self.range = torch.where(span > 0, span, 1.0)
        generator = torch.Generator().manual_seed(self.seed)
        patches = self._patches(images, generator).double() / self.range
        centred = patches - patches.mean(1, keepdim=True)
        patches = centred / (patches.var(1, keepdim=True) + CONTRAST).sqrt()
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - mean).mT @ (patches - mean) / len(patches))
        seen = values > 1e-10 * values[-1]  # a normalised patch has no mean, for one
        roots = torch.where(seen, values + self.whiten * values.mean(), torch.inf).rsqrt()
        whitening = (vectors * roots) @ vectors.mT
        chosen = torch.randint(len(patches), (self.filters,), generator=generator)
        filters = (patches[chosen.to(patches.device)] - mean) @ whitening
        filters = filters / filters.norm(dim=1, keepdim=True).clamp(min=1e-30)
        kernel = filters @ whitening
        self.bias = -(kernel @ mean).to(images.dtype)
        self.kernel = kernel.to(images.dtype).view(self.filters, images.shape[1], self.size, self.size)
        self.mean = self.scale = images.new_zeros(())
        self._standardise(images)
        return self

    def forward(self, X: Tensor) -> Tensor:
        """Features of images: (m, 2 filters pool^2), in the dtype of the filters; NaN of images with NaN."""
        if self.kernel is None:
            raise ValueError(f"{OP}: fit it first")
        images = self._images(X).to(self.kernel.device, self.kernel.dtype)
        if images.shape[1] != self.kernel.shape[1] or min(images.shape[2:]) < self.size:
            raise ValueError(f"{OP}: X must be images of {self.kernel.shape[1]} channels, no smaller than "
                             f"{self.size} x {self.size}, got shape {tuple(images.shape)}")  # fmt: skip
        out = images.new_empty((len(images), 2 * self.filters * self.pool**2))
        for rows in row_blocks(len(images), IMAGES.get(images.device.type, 64)):
            out[rows] = (self._raw(images[rows]) - self.mean) * self.scale
        return out

    transform = forward

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        """Makes room for buffers that nothing was fitted to yet; the rest is PyTorch's."""
        kernel = state_dict.get(f"{prefix}kernel")
        if self.kernel is None and isinstance(kernel, Tensor) and kernel.dim() == 4:
            features = (2 * self.filters * self.pool**2,)
            shapes = ((self.filters, kernel.shape[1], self.size, self.size), (self.filters,), (), features, features)
            for name, shape in zip(BUFFERS, shapes, strict=True):
                setattr(self, name, kernel.new_full(shape, torch.nan))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def _images(self, X: Any) -> Tensor:
        x = X.detach() if isinstance(X, Tensor) else torch.as_tensor(X)
        x = x[:, None] if x.dim() == 3 else x
        if x.dim() != 4 or 0 in x.shape[1:]:
            raise ValueError(f"{OP}: X must have shape (m, channels, height, width), got {tuple(x.shape)}")
        return x if x.dtype is torch.float64 else x.float()

    def _patches(self, images: Tensor, generator: torch.Generator) -> Tensor:
        m, channels, height, width = images.shape
        which = torch.randint(m, (PATCHES,), generator=generator)
        top = torch.randint(height - self.size + 1, (PATCHES,), generator=generator)
        left = torch.randint(width - self.size + 1, (PATCHES,), generator=generator)
        windows = images.unfold(2, self.size, 1).unfold(3, self.size, 1)  # (m, channels, rows, columns, size, size)
        device = images.device
        found = windows[which.to(device), :, top.to(device), left.to(device)]
        return found.reshape(PATCHES, channels * self.size**2)

    def _raw(self, images: Tensor) -> Tensor:
        """Before standardisation. A patch p of images / range gives K (p - mean p) / sqrt(var p + CONTRAST) + bias.

        That is a convolution, and the mean and variance of each patch by averages.
        """
        n = self.kernel[0].numel()
        box = images.new_full((1, images.shape[1], self.size, self.size), 1.0 / n)
        images = images / self.range
        images = images - images.mean((1, 2, 3), keepdim=True)  # variances lose less to rounding
        mean = functional.conv2d(images, box)
        variance = (functional.conv2d(images.square(), box) - mean.square()).clamp(min=0.0) * (n / (n - 1))
        product = functional.conv2d(images, self.kernel) - mean * self.kernel.sum((1, 2, 3))[:, None, None]
        product = product * (variance + CONTRAST).rsqrt() + self.bias[:, None, None]
        both = torch.cat([product.relu(), product.neg().relu()], dim=1)
        return functional.adaptive_avg_pool2d(both, self.pool).flatten(1)

    def _standardise(self, images: Tensor) -> None:
        total = squares = torch.zeros((), dtype=torch.float64, device=images.device)
        for rows in row_blocks(len(images), IMAGES.get(images.device.type, 64)):
            raw = self._raw(images[rows]).double()
            total, squares = total + raw.sum(0), squares + raw.square().sum(0)
        mean = total / len(images)
        spread = (squares / len(images) - mean.square()).clamp(min=0.0).sqrt()
        self.mean, self.scale = mean.to(images.dtype), (1.0 / (spread + 0.01)).to(images.dtype)
