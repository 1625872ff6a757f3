"""Inference: the loaded version answers, over the Open Inference Protocol."""
