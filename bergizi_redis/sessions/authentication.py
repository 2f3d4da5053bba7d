"""Django's ``AuthenticationMiddleware``, native in async.

It only hangs ``user`` and ``auser`` on the request, for which Django's own takes a thread in each request of an async
site: more time than all the rest of a small page. Asks nothing, so an outage of Redis is nothing to it.
"""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware as DjangoAuthenticationMiddleware
from django.http import HttpRequest


class AuthenticationMiddleware(DjangoAuthenticationMiddleware):
    """A drop-in for Django's, in its place in ``MIDDLEWARE``. Under WSGI the two are the same.

    A project's subclass whose ``process_request`` asks the database belongs under Django's own.
    """

    async def __acall__(self, request: HttpRequest) -> Any:
        self.process_request(request)
        return await self.get_response(request)  # type: ignore[misc]
