"""PyramidNet of Han et al., "Deep Pyramidal Residual Networks" (CVPR 2017), the additive kind with basic blocks, for
CIFAR images.

Three groups of n basic blocks (BN-conv3x3-BN-ReLU-conv3x3-BN, their Fig. 6d), depth 6n + 2. Block k of N = 3n widens
the network to 16 + k alpha / N channels, rounded to the nearest whole number as in the authors' code (their eq. 2 says
floor); shortcuts are identities padded with zero channels, 2x2 average-pooled where the second and third group halve
the image. Convolutions are initialised as in He et al. ("msra").
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BASE_CHANNELS = 16
GROUPS = 3


class Block(nn.Module):
    """One pyramidal basic block: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.stride = stride
        self.added = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.avg_pool2d(x, 2) if self.stride == 2 else x
        return self.residual(x) + F.pad(shortcut, (0, 0, 0, 0, 0, self.added))


def channel_plan(depth: int, widening: int) -> list[int]:
    """Output channels of every block: 16 + k widening / N rounded, k = 1..N. ValueError unless depth = 6n + 2."""
    if depth < 8 or (depth - 2) % (2 * GROUPS):
        raise ValueError(f"depth: a PyramidNet of basic blocks has 6n + 2 layers, got {depth}")
    blocks = (depth - 2) // 2
    return [BASE_CHANNELS + round(k * widening / blocks) for k in range(1, blocks + 1)]


def pyramidnet(channels: int, classes: int, depth: int, widening: int = 48) -> nn.Sequential:
    """The network for images (N, channels, H, W), H and W divisible by 4; widening is the paper's alpha."""
    plan = channel_plan(depth, widening)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, BASE_CHANNELS, 3, padding=1, bias=False),
        nn.BatchNorm2d(BASE_CHANNELS),
    ]
    inputs = BASE_CHANNELS
    for index, outputs in enumerate(plan):
        starts_group = index > 0 and index % (len(plan) // GROUPS) == 0
        layers.append(Block(inputs, outputs, stride=2 if starts_group else 1))
        inputs = outputs
    layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
