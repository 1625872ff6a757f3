"""What boards run."""
