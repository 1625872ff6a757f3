"""What operators run: quantizer, registry, delivery, control, and the command line."""
