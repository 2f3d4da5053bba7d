"""Who is at the other end: the address, and a short label of browser and system for people to recognise a device by.

Families only, no versions: enough for "Firefox on Android", too little to track anybody, and the same after an update –
which is why the label is the fingerprint as well. ``SESSION_CLIENT_PRIVACY`` says what is kept. No round trip.
"""

import ipaddress
import re
from functools import lru_cache

from django.utils.crypto import salted_hmac

from bergizi_redis.addresses import client_ip as client_ip
from bergizi_redis.addresses import valid_ip
from bergizi_redis.conf import config

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


LONGEST_AGENT = 512  # characters looked at; browsers send some 120


@lru_cache(maxsize=512)
def client_label(user_agent: str) -> str:
    """``"Firefox · Android"``, one half where the other is unknown, "" for neither. At most 26 characters."""
    halves = (
        next((name for pattern, name in known if re.search(pattern, user_agent)), "") for known in (BROWSERS, SYSTEMS)
    )
    return " · ".join(filter(None, halves))


def noted_ip(text: str | None) -> str | None:
    """What may be kept of the address: itself, its network, a digest of it, or nothing; None for what is no address."""
    if (address := valid_ip(text)) is None or config.SESSION_CLIENT_PRIVACY == "off":
        return None
    if config.SESSION_CLIENT_PRIVACY == "prefix":
        width = 48 if ":" in address else 24  # what one household or office has
        return str(ipaddress.ip_network(f"{address.partition('%')[0]}/{width}", strict=False))
    if config.SESSION_CLIENT_PRIVACY == "hash":
        # Keyed, for all of IPv4 is tried in a minute. It tells the same from another, until SECRET_KEY is rotated.
        return "#" + salted_hmac("bergizi_redis.sessions.ip", address, algorithm="sha256").hexdigest()[:16]
    return address


def noted_label(user_agent: str | None) -> str | None:
    """What may be kept of the browser: its label, or nothing."""
    off = config.SESSION_CLIENT_PRIVACY == "off"
    return None if off else client_label((user_agent or "")[:LONGEST_AGENT]) or None
