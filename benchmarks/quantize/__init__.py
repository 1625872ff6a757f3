"""Every rounding mode beside models quantized for one width alone: fidelity, bits, speed and memory."""
