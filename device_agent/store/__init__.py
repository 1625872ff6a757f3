"""The device's disk: blobs, manifests, what runs, and what was received. Whole after any kill."""
