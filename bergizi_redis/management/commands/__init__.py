"""Thin adapters: parse, call, print."""
