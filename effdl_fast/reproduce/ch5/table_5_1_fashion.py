"""Table 5.1 (sec. 5.4.1) on Fashion-MNIST: what k-filtering keeps, and test accuracy with and without it."""

from effdl_fast.reproduce.ch5.parts.filtered import BASELINE, preset

THESIS = {  # percent of the samples kept, test accuracy of the vanilla CNN-4; k = 42 is its k*
    BASELINE: (100.0, 92.02),
    "k=5": (42.0, 90.83),
    "k=10": (56.0, 91.55),
    "k=20": (69.0, 91.89),
    "k=42": (80.0, 92.25),
    "k=104": (92.0, 93.65),  # the k* of VGG-13, and its accuracy
}

EXPERIMENT = preset(
    title="k-filtered Fashion-MNIST",
    data="fashion-mnist",
    ks=(5, 10, 20, 42),
    fractions_at=(5, 10, 20, 42, 104),
    thesis=THESIS,
)
