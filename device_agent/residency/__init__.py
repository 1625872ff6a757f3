"""Residency: which blocks are in memory, and at which level."""
