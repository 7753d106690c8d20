"""One module per op: `bench_<op>.py` with `races(device, quick)`, which yields `harness.Race` objects."""
