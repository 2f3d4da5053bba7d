"""What goes wrong with Redis, its processes and its memory, and what a reader may be served meanwhile."""
