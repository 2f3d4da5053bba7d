"""The pages by which owners unlock their account: ``path("unlock/", include("bergizi_redis.security.urls"))``."""

from django.urls import path

from bergizi_redis.security import unlocking

urlpatterns = [
    path("", unlocking.ask, name="bergizi_redis_unlock"),
    path("<str:token>/", unlocking.use, name="bergizi_redis_unlock_link"),
]
