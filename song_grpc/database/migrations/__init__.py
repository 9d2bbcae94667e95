"""Alembic migrations of Song's database."""
