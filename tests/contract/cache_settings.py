"""Settings for Django's own cache tests: their app ``cache`` and this package's backend."""

from bergizi_redis.conf import redis_url_from_env

SECRET_KEY = "for tests only"
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "cache"]
CACHES = {"default": {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": redis_url_from_env()}}
BERGIZI_REDIS = {"REQUEST_BUDGET": 60.0}  # a busy machine may stop for some seconds
