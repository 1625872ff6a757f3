"""From float weights to the blobs of a version: plan, quantize, nest, pack, prove."""
