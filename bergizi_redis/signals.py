"""Signals by which rooms talk to one another; ``apps.py`` connects them, users may too.

``tags_invalidated(sender, tenant, tags)``: after the tags were bumped. ``tenant`` is None for every tenant.
``cache_lied(sender, key, domain, tenant)``: a hit was computed again (``VERIFY_SAMPLE``) and was wrong.
``session_started / session_ended(sender, sid, user_id, tenant, reason)``.
``session_expired(sender, sid, user_id, tenant)``: nobody ended it, it ran out; told once, within some minutes. The user
is None where the tenant's activity no longer tells.
``sessions_revoked(sender, sid, user_id, tenant, actor, reason, ended)``: a revocation, when its clean-up has ended.
``session_client_changed(sender, sid, user_id, tenant, before, after, policy)``: another browser sent the cookie.
``session_tenant_mismatch(sender, sid, user_id, tenant, visited)``: it was shown to another tenant, and not heeded.
``login_refused(sender, identifier, tenant, scope, reason, retry_after, ip, request)``: before any password was checked.
``reason``: what was used up – ``account``, ``device``, ``address``, ``network``, or ``capped`` (until it is unlocked).
``account_locked(sender, identifier, tenant, scope, failures, retry_after, level, capped, device, ip)``: ``level`` 0 is
the first lock; ``capped``: too many failures in a row, and only an unlock opens it; ``device``: only one of its trusted
devices was locked, for everybody else it is as it was.
``account_unlocked(sender, identifier, tenant, scope, by)``: ``by`` ``success``, ``administrator`` or ``link``.
``spray_detected(sender, kind, tenant, scope, network, identifier, count, limit)``: once a window. ``kind`` ``spray``,
many accounts tried from ``network``; ``distributed``, ``identifier`` tried from many networks; ``failures``, most
log-ins of the tenant fail. What does not apply is None; ``count`` is an estimate (HyperLogLog, 0.8 %), or per cent.
``success_after_failures(sender, identifier, tenant, scope, failures, user, ip, request)``: the right password, after
failures that would be no surprise from a guesser. ``identifier`` is canonical, ``tenant`` "@" without one, seconds.
``security_alert(sender, alert)``: a ``security.alerts.Alert`` was raised, or is over (``alert.is_over``).
"""

from django.dispatch import Signal

tags_invalidated = Signal()
cache_lied = Signal()
session_started = Signal()
session_ended = Signal()
session_expired = Signal()
session_client_changed = Signal()
session_tenant_mismatch = Signal()
sessions_revoked = Signal()
login_refused = Signal()
account_locked = Signal()
account_unlocked = Signal()
spray_detected = Signal()
success_after_failures = Signal()
security_alert = Signal()
