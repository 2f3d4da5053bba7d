"""The cache beside a real PostgreSQL, at every isolation level."""
