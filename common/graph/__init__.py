"""The graph: a model's computation as data, and its way back to something that runs."""
