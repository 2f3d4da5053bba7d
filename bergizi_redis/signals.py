"""Signals by which rooms talk to one another; ``apps.py`` connects them, users may too.

``tags_invalidated(sender, tenant, tags)``: after the tags were bumped. ``tenant`` is None for every tenant.
``cache_lied(sender, key, domain, tenant)``: a hit was computed again (``VERIFY_SAMPLE``) and was wrong.
``session_started / session_ended(sender, sid, user_id, tenant, reason)``.
``session_expired(sender, sid, tenant)``: a session that nobody ended has run out; told once, within some minutes.
``sessions_revoked(sender, sid, user_id, tenant, actor, reason, ended)``: a revocation, when its clean-up has ended.
``session_client_changed(sender, sid, user_id, tenant, before, after, policy)``: another browser sent the cookie.
``login_refused(sender, identifier, retry_after, request)``, ``account_locked(sender, identifier, tenant, failures)``,
``account_unlocked(sender, identifier, tenant)``.
"""

from django.dispatch import Signal

tags_invalidated = Signal()
cache_lied = Signal()
session_started = Signal()
session_ended = Signal()
session_expired = Signal()
session_client_changed = Signal()
sessions_revoked = Signal()
login_refused = Signal()
account_locked = Signal()
account_unlocked = Signal()
