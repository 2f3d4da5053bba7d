"""Passwords that were in a breach, as a Bloom filter in plain Redis bitmaps."""
