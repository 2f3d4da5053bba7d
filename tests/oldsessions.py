"""A session engine of a project's own."""

from django.contrib.sessions.backends.db import SessionStore as Rows


class SessionStore(Rows):
    pass
