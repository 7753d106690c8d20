"""VGG-13 and VGG-19 (Simonyan & Zisserman, 2015, table 1, columns B and E) with batch normalisation, as used on CIFAR.

The three large fully connected layers made for 7x7x512 ImageNet features become one layer, since five poolings leave
1x1x512 of a 32x32 image; so this is not torchvision's VGG, whose 4096-unit layers would hold 9 of 10 parameters.
"""

from __future__ import annotations

from torch import nn

from effdl_fast.reproduce.ch4.parts.cnn import conv

CHANNELS = (64, 128, 256, 512, 512)  # one 2x2 max-pooling after each group
CONVOLUTIONS = {13: (2, 2, 2, 2, 2), 19: (2, 2, 4, 4, 4)}


def vgg(channels: int, classes: int, depth: int) -> nn.Sequential:
    """The network of `depth` 13 or 19 for images (N, channels, 32, 32)."""
    if depth not in CONVOLUTIONS:
        raise ValueError(f"depth: there are VGG-13 and VGG-19 here, got {depth}")
    layers: list[nn.Module] = []
    for outputs, count in zip(CHANNELS, CONVOLUTIONS[depth], strict=True):
        for _ in range(count):
            layers += conv(channels, outputs, 3)
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
