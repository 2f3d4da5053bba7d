"""The only wiring: ``ready()`` registers the system checks and connects the rooms by their signals.

Each feature is wired only where the project's settings ask for it.
"""

from importlib import import_module

from django.apps import AppConfig, apps
from django.conf import settings

from bergizi_redis.greetings import on_connect

SESSION_ENGINE = "bergizi_redis.sessions.backend"


class BergiziRedisConfig(AppConfig):
    name = "bergizi_redis"
    verbose_name = "Bergizi Redis"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import_module("bergizi_redis.checks")
        import_module("bergizi_redis.auditchecks")
        import_module("bergizi_redis.limitchecks")
        import_module("bergizi_redis.passwordchecks")
        connect_restarts()
        connect_writes()
        connect_statistics()
        if settings.SESSION_ENGINE == SESSION_ENGINE and apps.is_installed("django.contrib.auth"):
            connect_sessions()
        if apps.is_installed("django.contrib.auth"):
            connect_lockout()
            connect_audit()


def connect_restarts() -> None:
    """Ask on each new connection whether the server was restarted from an older copy."""
    from bergizi_redis.cache.restarts import steps

    on_connect(steps)


def connect_writes() -> None:
    """See what every database connection writes, and relay at requests what an outage left in the outbox."""
    from django.core.signals import request_started
    from django.db.backends.signals import connection_created
    from django.db.models.signals import post_save

    from bergizi_redis.cache.outbox import RELAY
    from bergizi_redis.cache.rows import row_saved
    from bergizi_redis.cache.statements import watch, watch_all

    connection_created.connect(watch, dispatch_uid="bergizi_redis.cache.watch")
    post_save.connect(row_saved, dispatch_uid="bergizi_redis.cache.rows")
    request_started.connect(RELAY.at_request, dispatch_uid="bergizi_redis.cache.relay")
    watch_all()


def connect_statistics() -> None:
    """Send what was counted after a response, and heed a test's settings."""
    from django.core.signals import request_finished, setting_changed

    from bergizi_redis.cache.fleet import send_due
    from bergizi_redis.cache.verify import read_anew

    request_finished.connect(send_due, dispatch_uid="bergizi_redis.cache.send_due")
    setting_changed.connect(read_anew, dispatch_uid="bergizi_redis.cache.verify")


def connect_sessions() -> None:
    """Note tenant, address and device of a log-in that does not pass our middleware, such as a test client's."""
    from django.contrib.auth.signals import user_logged_in
    from django.core.signals import request_finished

    from bergizi_redis.sessions import grants
    from bergizi_redis.sessions.login import take_place
    from bergizi_redis.sessions.sweeping import SWEEPER

    request_finished.connect(SWEEPER.at_request, dispatch_uid="bergizi_redis.sessions.sweep")
    user_logged_in.connect(take_place, dispatch_uid="bergizi_redis.sessions.take_place")
    grants.connect()


def connect_lockout() -> None:
    """Refund what a backend accepts that is not guarded itself."""
    from django.contrib.auth.signals import user_logged_in

    from bergizi_redis.security.backends import settle_late

    user_logged_in.connect(settle_late, dispatch_uid="bergizi_redis.security.settle_late")


def connect_audit() -> None:
    """Record and alert of what happens to users, where the settings say so when it happens."""
    from bergizi_redis.security import alarming, auditing, userchanges

    auditing.connect()
    userchanges.connect()
    alarming.connect()
