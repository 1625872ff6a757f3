"""Inference: a version in memory that answers."""
