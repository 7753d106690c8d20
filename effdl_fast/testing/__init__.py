"""What tests and benchmarks share: cases (inputs), backends (every compiled one, with proof that it ran), tolerance."""
