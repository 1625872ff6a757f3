"""Models that demonstration, benchmarks and tests share."""
