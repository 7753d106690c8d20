"""Table 4.4 (sec. 4.12): PyramidNet on CIFAR-100, widening 48."""

from effdl_fast.reproduce.ch4.parts.preset import preset, row

EXPERIMENT = preset(
    title="PyramidNet on CIFAR-100",
    thesis="Table 4.4, sec. 4.12",
    data="torchvision:CIFAR100",
    trials=1,
    note=(
        "A PyramidNet of basic blocks has 6n + 2 layers, so the thesis's 55-layer network is taken to be the one of "
        "56 (n = 9). Nesterov momentum and initialisation as in Han et al. (2017), whose settings the thesis says it "
        "used."
    ),
    rows={
        "PyramidNet-55 softmax": (25.23, row("pyramidnet-56", "softmax", 0.5, 0.0001, nesterov=True)),
        "PyramidNet-55 exp-GA": (
            29.17,
            row("pyramidnet-56", "exp", 0.3, 0.00005, (0.0, 2.0), alpha=1.0, nesterov=True),
        ),
        "PyramidNet-55 pow3-GA": (
            24.21,
            row("pyramidnet-56", "pow3", 20.0, 0.000001, (-1.0, 1.0), alpha=0.001, beta=0.0, nesterov=True),
        ),
        "PyramidNet-110 softmax": (21.7, row("pyramidnet-110", "softmax", 0.5, 0.0001, nesterov=True)),
        "PyramidNet-110 exp-GA": (
            25.51,
            row("pyramidnet-110", "exp", 0.3, 0.00005, (0.0, 2.0), alpha=0.5, nesterov=True),
        ),
        "PyramidNet-110 pow3-GA": (
            21.41,
            row("pyramidnet-110", "pow3", 16.0, 0.000001, (-1.0, 1.0), alpha=0.001, beta=0.0, nesterov=True),
        ),
    },
)
