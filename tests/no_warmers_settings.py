"""Settings of a project whose apps declare no warmer."""

from tests.settings import *  # noqa: F403

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "bergizi_redis"]
