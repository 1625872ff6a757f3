"""Models quantized for one width alone: what a level of a nested model is measured against."""
