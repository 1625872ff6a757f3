"""Libraries that multiply 8-bit weights by 8-bit activations, behind one port."""
