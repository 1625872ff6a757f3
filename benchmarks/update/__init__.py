"""What an update moves: deltas between versions, beside their entropy and what others would send."""
