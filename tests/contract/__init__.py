"""Suites of others, run against this package."""
