"""Delivery: pushes come in, manifests and blobs go out, devices enrol."""
