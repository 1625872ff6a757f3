"""What the board says about itself."""
