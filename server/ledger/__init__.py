"""Ledger: what was moved, and what other schemes would have moved."""
