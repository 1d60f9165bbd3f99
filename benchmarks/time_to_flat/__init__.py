"""How soon the last order is gone: what `benchmarks.flat` is made of."""
