"""Settings for Django's own suites: those of its tests on SQLite, with this package's sessions.

Its ``runtests.py`` names the apps and the middleware itself once it has read these settings, from lists of its own,
to one of which our app is added here. ``suite_runner`` puts our middleware in the place of Django's.
"""

import sys
from typing import Any

from bergizi_redis.conf import redis_url_from_env

runtests: Any = sys.modules["__main__"]
runtests.ALWAYS_INSTALLED_APPS.append("bergizi_redis")

SECRET_KEY = "for tests only"
USE_TZ = False
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3"} for alias in ("default", "other")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
TEST_RUNNER = "tests.contract.suite_runner.Recorder"

# The default cache is Django's own, so that nothing but the sessions is ours.
SESSION_ENGINE = "bergizi_redis.sessions.backend"
SESSION_CACHE_ALIAS = "sessions"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "sessions": {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": redis_url_from_env()},
}
BERGIZI_REDIS = {"REQUEST_BUDGET": 60.0}  # a busy machine may stop for some seconds
