"""Table 4.2 (sec. 4.11): VGG-13 and VGG-19 with batch normalisation on CIFAR-10."""

from effdl_fast.reproduce.ch4.parts.preset import preset, row

EXPERIMENT = preset(
    title="VGG on CIFAR-10",
    thesis="Table 4.2, Fig. 4.4, sec. 4.11",
    data="torchvision:CIFAR10",
    trials=8,
    note="For VGG these are our choice: the thesis tells neither epochs, momentum, batch size nor augmentation.",
    rows={
        "VGG-13 softmax": (5.68, row("vgg-13", "softmax", 0.05, 0.0005)),
        "VGG-13 exp-GA": (5.61, row("vgg-13", "exp", 0.01, 0.03, (0.0, 2.0), alpha=0.5)),
        "VGG-13 pow3-GA": (5.55, row("vgg-13", "pow3", 0.1, 0.003, (0.0, 2.0), alpha=0.001, beta=0.0)),
        "VGG-13 linear": (5.47, row("vgg-13", "linear", 0.01, 0.03, (-1.0, 1.0))),
        "VGG-19 softmax": (6.05, row("vgg-19", "softmax", 0.05, 0.0005)),
        "VGG-19 exp-GA": (5.82, row("vgg-19", "exp", 0.01, 0.03, (0.0, 2.0), alpha=0.5)),
        "VGG-19 pow3-GA": (5.93, row("vgg-19", "pow3", 0.07, 0.0003, (0.0, 2.0), alpha=0.001, beta=0.0)),
        "VGG-19 linear": (5.79, row("vgg-19", "linear", 0.01, 0.03, (-1.0, 1.0))),
    },
)
