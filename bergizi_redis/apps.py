"""The only wiring: ``ready()`` registers the system checks and connects the rooms by their signals."""

from importlib import import_module

from django.apps import AppConfig


class BergiziRedisConfig(AppConfig):
    name = "bergizi_redis"
    verbose_name = "Bergizi Redis"

    def ready(self) -> None:
        import_module("bergizi_redis.checks")
