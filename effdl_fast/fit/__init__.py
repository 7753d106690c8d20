"""`effdl fit`: a network in closed form for a data set, on the command line (thesis chapter 7)."""
