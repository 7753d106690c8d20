"""`effdl filter`: k-filtering of a whole data set (thesis section 5.4), and a report of what it leaves out."""
