"""Who is at the other end: the address, and a short label of browser and system for people to recognise a device by.

Families only, no versions: enough for "Firefox on Android", too little to track anybody. No round trip.
"""

import ipaddress
import re

from django.http import HttpRequest

from bergizi_redis.tenancy import is_trusted_proxy

# First match wins: Edge and Opera also say Chrome, Chrome also says Safari, everybody says Mozilla.
BROWSERS = (
    (r"Edg(e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"SamsungBrowser/", "Samsung Internet"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrome/|CriOS/|Chromium/", "Chrome"),
    (r"Safari/", "Safari"),
    (r"curl/", "curl"),
    (r"okhttp/|Dart/|Dalvik/", "App"),
    (r"[Pp]ython", "Python"),
)
SYSTEMS = (
    (r"Android", "Android"),
    (r"iPhone|iPad|iPod", "iOS"),
    (r"Windows", "Windows"),
    (r"Mac OS X|Macintosh", "macOS"),
    (r"CrOS", "ChromeOS"),
    (r"Linux|X11", "Linux"),
)


def client_label(user_agent: str) -> str:
    """``"Firefox · Android"``, one half where the other is unknown, "" for neither. At most 26 characters."""
    halves = (
        next((name for pattern, name in known if re.search(pattern, user_agent)), "") for known in (BROWSERS, SYSTEMS)
    )
    return " · ".join(filter(None, halves))


def client_ip(request: HttpRequest) -> str | None:
    """The peer's address; behind ``TRUSTED_PROXIES`` the last one in X-Forwarded-For that is not such a proxy.

    What stands further left is the client's own claim and not believed. None when there is no valid address.
    """
    peer = request.META.get("REMOTE_ADDR", "")
    claimed = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    while claimed and is_trusted_proxy(peer):
        peer = claimed.pop()
    return valid_ip(peer)


def valid_ip(text: str | None) -> str | None:
    """The address in its shortest form, or None."""
    try:
        return str(ipaddress.ip_address(text or ""))
    except ValueError:
        return None
