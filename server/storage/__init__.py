"""Storage: blobs by digest, in a folder or an object store, and the collection of what no version names."""
