"""Integer inference: 8-bit weights times 8-bit activations, layer by layer where a kernel serves."""
