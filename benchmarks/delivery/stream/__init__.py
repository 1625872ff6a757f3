"""Throughput: the product's stream, plain gRPC and nginx, the same files from the same disk."""
