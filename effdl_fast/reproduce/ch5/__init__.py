"""How and what neural networks learn (chapter 5 of the thesis).

One file per experiment; `parts/` holds what they share: networks, points in the plane, training on filtered data.
"""
