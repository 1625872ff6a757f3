"""One stream of many blobs to one device: what is wanted, how far ahead of it, and where bytes come from."""
