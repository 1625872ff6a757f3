"""What the runtimes load, made once and kept by what it was made from."""
