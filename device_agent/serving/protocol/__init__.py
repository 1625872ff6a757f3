"""The Open Inference Protocol as values: what is taken, what is refused, how an answer looks. Pure."""
