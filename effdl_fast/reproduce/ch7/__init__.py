"""Platonic projections: networks in closed form (chapter 7 of the thesis).

One file per experiment; `parts/` holds what they share: toy problems, inputs, fits, the thesis's recipe in plain torch.
"""
