"""The system checks as a table: id, what it says, what to do. ``checks`` finds them; the reference repeats it.

Ids are stable: silence one with Django's ``SILENCED_SYSTEM_CHECKS``. E: does not work; W: works less well than it
looks; I: worth knowing. Deployment checks ask the servers and run with ``check --deploy`` alone.
"""

from dataclasses import dataclass
from typing import Any

from django.core.checks import ERROR, INFO, WARNING, CheckMessage

LEVELS = {"E": ERROR, "W": WARNING, "I": INFO}


@dataclass(frozen=True, slots=True)
class Rule:
    """``number``: letter of the level and three digits. ``remedy`` is the hint, unless a finding knows better."""

    name: str
    number: str
    what: str
    remedy: str
    deploy: bool = False

    @property
    def id(self) -> str:
        return f"bergizi_redis.{self.number}"

    @property
    def level(self) -> str:
        """As Django names it: Error, Warning or Info."""
        return {"E": "Error", "W": "Warning", "I": "Info"}[self.number[0]]

    def found(self, message: str, hint: str | None = None, obj: Any = None) -> CheckMessage:
        return CheckMessage(LEVELS[self.number[0]], message, hint=hint or self.remedy, obj=obj, id=self.id)


NOT_A_DICT = Rule("NOT_A_DICT", "E001", "`BERGIZI_REDIS` is not a dict.", "Write BERGIZI_REDIS = {}, or take it out.")
UNKNOWN_SETTING = Rule(
    "UNKNOWN_SETTING", "E002", "`BERGIZI_REDIS` has a key that is no setting.", "Correct it or take it out."
)
WRONG_VALUE = Rule(
    "WRONG_VALUE",
    "E003",
    "A setting has the wrong type, or a value out of range.",
    "Give a value of the type named, or take it out.",
)
NOT_IMPORTABLE = Rule(
    "NOT_IMPORTABLE",
    "E004",
    "A setting that is the path of a function names nothing that can be imported and called.",
    "Give the dotted path of a function.",
)
WRONG_NETWORK = Rule(
    "WRONG_NETWORK",
    "E005",
    "`TRUSTED_PROXIES` holds something that is no network.",
    "Write networks as CIDRs, such as '10.0.0.0/8', or single addresses.",
)
MISSING_ALIAS = Rule(
    "MISSING_ALIAS",
    "E006",
    "A setting names an alias that `CACHES` does not have.",
    "Add the alias to CACHES, or name another.",
)
NOT_REDIS = Rule(
    "NOT_REDIS",
    "E007",
    "A setting, or a feature in use, needs Redis, and the alias that it names is kept elsewhere or holds no tags.",
    "Give the alias BACKEND 'bergizi_redis.cache.backend.TaggedRedisCache', or name another alias.",
)
WRONG_LOCATION = Rule(
    "WRONG_LOCATION",
    "E008",
    "The `LOCATION` of a Redis-backed alias cannot be read.",
    "Write it like redis://localhost:6379/0, special characters of the password percent-encoded.",
)
WRONG_NEAR_CACHE = Rule(
    "WRONG_NEAR_CACHE",
    "E009",
    "`OPTIONS['NEAR_CACHE']` of an alias holds what cannot be used, or stands on an alias that has none.",
    "Write True, or {'max_bytes': 64 * 2**20, 'max_staleness': 1.0}, on an alias with the BACKEND "
    "'bergizi_redis.cache.backend.TaggedRedisCache'.",
)
UNKNOWN_MODEL = Rule(
    "UNKNOWN_MODEL",
    "E010",
    "`QUERY_CACHE` or `ROW_TAGS` lists a model that does not exist.",
    "Write its label, such as 'menus.Menu'.",
)
HIDDEN_ERRORS = Rule(
    "HIDDEN_ERRORS",
    "W001",
    "`IGNORE_EXCEPTIONS` on the alias of sessions or security hides lost sessions and counts.",
    "Give SESSION_CACHE_ALIAS and SECURITY_ALIAS an alias of their own, without IGNORE_EXCEPTIONS.",
)
SHARED_POOL = Rule(
    "SHARED_POOL",
    "W002",
    "Two aliases of plain django-redis share one URL's pool in spite of different pool options.",
    "Use 'bergizi_redis.cache.backend.TaggedRedisCache', which gives each a pool of its own, or make the URLs differ.",
)
UNGUARDED_BACKEND = Rule(
    "UNGUARDED_BACKEND",
    "W003",
    "A backend that checks passwords is not counted by the lockout that another one has.",
    "Take it out of AUTHENTICATION_BACKENDS, or guard it: class Ours(LockoutMixin, TheirBackend).",
)
NO_LOCKOUT_MIDDLEWARE = Rule(
    "NO_LOCKOUT_MIDDLEWARE", "W004", "The lockout lacks its middleware: a refused log-in answers 200, not 429.",
    "Add 'bergizi_redis.security.middleware.LockoutMiddleware' behind AuthenticationMiddleware.",
)  # fmt: skip
TENANT_BEFORE_USER = Rule(
    "TENANT_BEFORE_USER", "W005",
    "`TenantMiddleware` asks for the user before, or without, `AuthenticationMiddleware`.",
    "Put it behind 'django.contrib.auth.middleware.AuthenticationMiddleware', or resolve the tenant from the host.",
)  # fmt: skip
LOCKOUT_BEFORE_USER = Rule(
    "LOCKOUT_BEFORE_USER", "W006",
    "`LockoutMiddleware` stands before `AuthenticationMiddleware`, so its pages have no user.",
    "Put it behind 'django.contrib.auth.middleware.AuthenticationMiddleware'.",
)  # fmt: skip
TWO_SESSION_MIDDLEWARES = Rule(
    "TWO_SESSION_MIDDLEWARES", "W007", "Both session middlewares, Django's and this package's, are listed.",
    "Keep 'bergizi_redis.sessions.middleware.SessionMiddleware', in the place of Django's.",
)  # fmt: skip
UNCACHED_MODEL = Rule(
    "UNCACHED_MODEL",
    "W008",
    "`QUERY_CACHE` lists a model whose manager caches nothing.",
    "Write objects = CachedQuerySet.as_manager(), from bergizi_redis.cache.queries, or take the model out.",
)
UNTRUSTED_PROXY = Rule(
    "UNTRUSTED_PROXY", "W010", "There is a proxy, and `TRUSTED_PROXIES` is empty: all visitors have its address.",
    "List the proxies' networks, or say how many there are, so that the lockout can tell visitors apart.",
)  # fmt: skip
NO_TENANT_FIELD = Rule(
    "NO_TENANT_FIELD",
    "W009",
    "`TENANT_FIELD` names a field that no model has, so every write counts for all tenants.",
    "Name the field that holds a row's tenant, such as 'tenant' or a foreign key's name.",
)
USELESS_LIVES = Rule(
    "USELESS_LIVES",
    "W020",
    "Of the lives of a session one is never reached: idle above absolute, or above it `TOUCH_EVERY`.",
    "Let TOUCH_EVERY be well below SESSION_IDLE, and that below SESSION_ABSOLUTE, or name a SESSION_PRESET.",
)
STOCK_SESSION_MIDDLEWARE = Rule(
    "STOCK_SESSION_MIDDLEWARE",
    "I001",
    "The session engine runs under Django's middleware: no outage page, no client's address.",
    "Put 'bergizi_redis.sessions.middleware.SessionMiddleware' in the place of Django's.",
)
TWO_POOLS = Rule(
    "TWO_POOLS",
    "I002",
    "Two aliases have one URL and different pool options: the server sees two pools.",
    "Nothing, if that is meant; else give both the same pool options.",
)
ILL_SERVER = Rule(
    "ILL_SERVER",
    "W101",
    "A server cannot be reached, refuses the password, or stores nothing.",
    "See `manage.py redis_health`.",
    deploy=True,
)
EVICTING = Rule(
    "EVICTING",
    "W102",
    "A server that may evict keys holds sessions, locks or buffered writes: short of memory, it drops them.",
    "Set maxmemory-policy noeviction there, and give the cache a server of its own with allkeys-lru.",
    deploy=True,
)
NOT_PERSISTENT = Rule(
    "NOT_PERSISTENT",
    "W103",
    "A server without persistence holds the sessions: its restart signs everybody out.",
    "Set appendonly yes on it.",
    deploy=True,
)
UNSAFE_BUFFER = Rule(
    "UNSAFE_BUFFER",
    "W104",
    "Writes that a `WriteBehind` accepted stand on a server without AOF: its crash loses them.",
    "Set appendonly yes there, with appendfsync always or WriteBehind(durable=True), or name another alias.",
    deploy=True,
)
NO_PEPPER = Rule(
    "NO_PEPPER", "E040", "The peppered hasher is listed, and `PASSWORD_PEPPERS` has no secret that it can use.",
    "Set PASSWORD_PEPPERS = {'2026': os.environ['PEPPER']}, made with secrets.token_urlsafe(48).",
)  # fmt: skip
POOR_PEPPER = Rule(
    "POOR_PEPPER", "W040", "A pepper is the `SECRET_KEY`, or the same as another.",
    "Give each key id a secret of its own.",
)  # fmt: skip
HASHER_NOT_FIRST = Rule(
    "HASHER_NOT_FIRST", "W041", "The peppered hasher is not the first: new passwords are hashed by another.",
    "Put 'bergizi_redis.security.hashers.PepperedBCryptPasswordHasher' first; others behind it still verify.",
)  # fmt: skip
WEAK_HASHER = Rule(
    "WEAK_HASHER", "W042", "The first hasher is fast to try, reads 72 bytes alone, or has a cost below 12.",
    "Put a slow one first; users move to it at log-in.",
)  # fmt: skip
NO_VALIDATOR = Rule(
    "NO_VALIDATOR", "W043", "New passwords may be common, or shorter than 15 characters.",
    "Add {'NAME': 'bergizi_redis.security.validators.PolicyValidator'} to AUTH_PASSWORD_VALIDATORS.",
)  # fmt: skip
OLD_HASHER = Rule(
    "OLD_HASHER", "I040", "A hasher that is fast to try, or reads 72 bytes alone, still verifies.",
    "Take it out when `manage.py check_passwords` counts nobody with it.",
)  # fmt: skip
NO_BREACH_LIST = Rule(
    "NO_BREACH_LIST", "W140", "`PASSWORD_BREACH_LIST` is on, and Redis has no list.",
    "Run `manage.py build_breach_list FILE`.", deploy=True,
)  # fmt: skip
WRONG_SINK = Rule(
    "WRONG_SINK", "E050", "`AUDIT_SINKS` names what cannot be called, or `file` without `AUDIT_FILE`.",
    "Use 'logger', 'database', 'file' with AUDIT_FILE, or the dotted path of sink(entry).",
)  # fmt: skip
SHORT_AUDIT_KEY = Rule(
    "SHORT_AUDIT_KEY", "W050", "A key of `AUDIT_KEY` is so short that it may be guessed, and then trails forged.",
    "Use 32 random characters or more, such as secrets.token_urlsafe(32) makes.",
)  # fmt: skip
OPEN_WEBHOOK = Rule(
    "OPEN_WEBHOOK", "W051", "Alerts are posted unsigned, or not over TLS.",
    "Use https:// in ALERT_WEBHOOKS, and give ALERT_WEBHOOK_KEY what the receiver checks the signature with.",
)  # fmt: skip
SILENT_ALERTS = Rule(
    "SILENT_ALERTS", "W052", "`ALERT_WEBHOOKS` or `ALERT_EMAILS` is set, and `ALERTS` is off.",
    "Set ALERTS to True, or take the addresses out.",
)  # fmt: skip
WRONG_LIMIT = Rule(
    "WRONG_LIMIT", "E060", "An entry of `RATELIMITS` cannot be used: each request below its path would fail.",
    "Write it as ratelimit() takes it: {'path': '/api/', 'key': 'user_or_ip', 'rate': '100/m'}.",
)  # fmt: skip
UNUSED_LIMITS = Rule(
    "UNUSED_LIMITS", "W060", "`RATELIMITS` is set, and no middleware asks it.",
    "Add 'bergizi_redis.security.limiting.middleware.RateLimitMiddleware' to MIDDLEWARE.",
)  # fmt: skip
EARLY_LIMITS = Rule(
    "EARLY_LIMITS", "W061", "`RateLimitMiddleware` counts users or tenants before they are known: by address.",
    "Put it behind AuthenticationMiddleware, and behind TenantMiddleware.",
)  # fmt: skip

RULES = tuple(rule for rule in list(globals().values()) if isinstance(rule, Rule))
