"""The two plain convolutional networks of chapter 4, with batch normalisation.

`width` scales the number of channels; 1.0 is the size meant for CIFAR-10 on a GPU, smaller values serve runs on a CPU.
"""

from __future__ import annotations

from torch import nn

from effdl_fast.errors import UserError
from effdl_fast.reproduce.experiment import Number

WIDTH = Number(float, 0.01, 16)
FIVE_LAYER_CHANNELS = (64, 64, 128, 128)  # the thesis gives no widths: ours
FIVE_LAYER_POOLED = (2, 4)  # 2x2 max-pooling after these convolutions
# All-CNN-C of Springenberg et al. (2014), table 1: (channels, kernel, stride); the last 1x1 convolution has one channel
# per class.
ALL_CNN = ((96, 3, 1), (96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1), (192, 1, 1))


def image_shape(sample_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W), or UserError where samples are no images of at least 8x8."""
    if len(sample_shape) != 3 or min(sample_shape[1:]) < 8:
        raise UserError(
            f"data: a convolutional network needs images of at least 8x8, got samples of shape {sample_shape}"
        )
    channels, height, width = sample_shape
    return channels, height, width


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution ("same" padding, no bias: the normalisation has one), batch normalisation, ReLU."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def five_layer_cnn(sample_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Sequential:
    """Sec. 4.5: four 3x3 convolutions and an affine output layer; for images of sample_shape (C, H, W)."""
    channels, height, wide = image_shape(sample_shape)
    layers: list[nn.Module] = []
    for number, outputs in enumerate(FIVE_LAYER_CHANNELS, 1):
        scaled = max(1, round(outputs * width))
        layers += conv(channels, scaled, 3)
        if number in FIVE_LAYER_POOLED:
            layers.append(nn.MaxPool2d(2))
        channels = scaled
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (height // 4) * (wide // 4), classes))


def ten_layer_cnn(sample_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Sequential:
    """Sec. 4.10: All-CNN-C with batch normalisation, its average pooling replaced by a fully connected layer."""
    channels, height, wide = image_shape(sample_shape)
    layers: list[nn.Module] = []
    for outputs, kernel, stride in ALL_CNN:
        scaled = max(1, round(outputs * width))
        layers += conv(channels, scaled, kernel, stride)
        channels = scaled
    layers += conv(channels, classes, 1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(classes * -(-height // 4) * -(-wide // 4), classes))
