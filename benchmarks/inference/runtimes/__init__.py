"""What runs a model; each is imported in its own process, and only there."""
