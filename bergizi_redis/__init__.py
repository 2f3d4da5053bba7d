"""Tagged cache, tenant-aware sessions, account lockout and live updates for Django, on Redis or Valkey."""

__version__ = "0.1.0"
