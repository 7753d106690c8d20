"""Exchanges between two processes over a link of a given speed: `python -m benchmarks.distributed --help`."""
