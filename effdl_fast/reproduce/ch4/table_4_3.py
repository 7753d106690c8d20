"""Table 4.3 (sec. 4.12): PyramidNet on CIFAR-10, widening 48."""

from effdl_fast.reproduce.ch4.parts.preset import preset, row

EXPERIMENT = preset(
    title="PyramidNet on CIFAR-10",
    thesis="Table 4.3, sec. 4.12",
    data="torchvision:CIFAR10",
    trials=1,
    note=(
        "A PyramidNet of basic blocks has 6n + 2 layers, so the thesis's 55-layer network is taken to be the one of "
        "56 (n = 9). Nesterov momentum and initialisation as in Han et al. (2017), whose settings the thesis says it "
        "used. The table gives no weight decay for exp-GA with 55 layers; that of its softmax and of exp-GA with 110 "
        "layers is used."
    ),
    rows={
        "PyramidNet-55 softmax": (6.02, row("pyramidnet-56", "softmax", 0.1, 0.0001, nesterov=True)),
        "PyramidNet-55 exp-GA": (5.51, row("pyramidnet-56", "exp", 0.4, 0.0001, (0.0, 2.0), alpha=1.0, nesterov=True)),
        "PyramidNet-55 pow3-GA": (
            5.66,
            row("pyramidnet-56", "pow3", 7.5, 0.000003, (-1.0, 1.0), alpha=0.0007, beta=0.0, nesterov=True),
        ),
        "PyramidNet-110 softmax": (4.98, row("pyramidnet-110", "softmax", 0.1, 0.0001, nesterov=True)),
        "PyramidNet-110 exp-GA": (
            4.67,
            row("pyramidnet-110", "exp", 0.2, 0.0001, (0.0, 3.0), alpha=0.5, nesterov=True),
        ),
        "PyramidNet-110 pow3-GA": (
            4.71,
            row("pyramidnet-110", "pow3", 5.0, 0.000003, (-1.0, 1.0), alpha=0.0007, beta=0.0, nesterov=True),
        ),
    },
)
