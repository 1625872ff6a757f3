"""Recorded days of a board, and what the residency policy makes of them in simulated time."""
