"""Coding: how whole numbers of known width become few bytes, and come back within stated bounds. Pure."""
