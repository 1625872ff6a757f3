"""From a goal to a proven version: decide, fetch, prove, switch, adapt, and report."""
