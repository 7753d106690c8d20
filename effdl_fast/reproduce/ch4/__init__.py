"""Gradient amplification (chapter 4 of the thesis).

One file per experiment; `parts/` holds networks and output layers that several experiments (and the demo) share.
"""
