"""Weight compression for distributed learning (chapter 3 of the thesis).

One file per experiment; `parts/` holds what they share: the networks, the exchange of quantized weights, the views.
"""
