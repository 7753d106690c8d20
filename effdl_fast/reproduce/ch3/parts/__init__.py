"""Networks, exchanges and views that the experiments of chapter 3 share."""
