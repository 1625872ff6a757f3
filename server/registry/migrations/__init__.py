"""Alembic migrations of the registry; each stands alone and speaks of no live class."""
