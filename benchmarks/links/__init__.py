"""Links that are slow or break; benchmarks and tests share them."""
