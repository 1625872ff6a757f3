"""What a version weighs on the wire, beside the entropy of its codes and one INT8 model."""
