"""Requests wait here for their turn, and run together where they fit together."""
