"""Registry: versions, devices, assignments and byte counts, in SQLite or PostgreSQL."""
