"""What a memory budget buys, block by block."""
