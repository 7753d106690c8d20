"""Table 5.1 (sec. 5.4.1) on MNIST: what k-filtering keeps, and test accuracy with and without it."""

from effdl_fast.reproduce.ch5.parts.filtered import BASELINE, preset

THESIS = {  # percent of the samples kept, test accuracy of the vanilla CNN-4; k = 24 is its k*
    BASELINE: (100.0, 99.54),
    "k=5": (18.0, 97.17),
    "k=10": (34.0, 99.43),
    "k=20": (53.0, 99.50),
    "k=24": (57.0, 99.55),
}

EXPERIMENT = preset(
    title="k-filtered MNIST",
    data="torchvision:MNIST",
    ks=(5, 10, 20, 24),
    fractions_at=(5, 10, 20, 24),
    thesis=THESIS,
)
