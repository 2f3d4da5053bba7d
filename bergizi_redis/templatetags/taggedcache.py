"""``{% load taggedcache %}``: ``{% taggedcache 300 "menus" kitchen.id tags="menus" %}…{% endtaggedcache %}``.

The piece is kept for that many seconds (a number or a variable; None: 15 days), or until one of its tags is voided:
``tags`` is text with commas, or a list. What follows the name is what it varies on; language and time zone always are.
With ``per_tenant=True`` each tenant has its own, and ``TenantRequired`` is raised where there is none.

Promise: race-free as ``cache.lookup`` is; a piece that is empty is a hit; what fails is not kept. Redis down: the piece
is rendered each time. The piece's own name is the tag ``template.<name>``. Round trips: 1 on a hit.
"""

from collections.abc import Sequence

from django import template
from django.template import Context, Node, NodeList, TemplateSyntaxError
from django.template.base import FilterExpression, Parser, Token, kwarg_re
from django.utils.safestring import SafeString, mark_safe

from bergizi_redis.cache.addresses import address_of
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.cache.variants import plain, surroundings
from bergizi_redis.exceptions import CacheKeyError
from bergizi_redis.tenancy import current_tenant

register = template.Library()

USAGE = '{% taggedcache SECONDS "name" [value …] [tags="one,two"] [per_tenant=True] %}'
OPTIONS = ("tags", "per_tenant")


class TaggedCacheNode(Node):
    """One piece."""

    child_nodelists = ("nodelist",)

    def __init__(
        self, nodelist: NodeList, seconds: FilterExpression, name: FilterExpression,
        values: Sequence[FilterExpression], options: dict[str, FilterExpression],
    ) -> None:  # fmt: skip
        self.nodelist = nodelist
        self.seconds = seconds
        self.name = name
        self.values = values
        self.options = options

    def render(self, context: Context) -> SafeString:
        seconds = self._seconds(context)
        with self._lookup(context) as entry:
            if entry.missed:
                entry.store(str.__str__(self.nodelist.render(context)), seconds)  # less the mark that it is safe
        piece: SafeString = mark_safe(entry.value)  # noqa: S308 – it was rendered, and escaped, by the template
        return piece

    def _lookup(self, context: Context) -> Lookup:
        name = plain(self.name.resolve(context))
        if not isinstance(name, str) or not name:
            raise TemplateSyntaxError(f"taggedcache: its name {self.name.token} is {name!r}; expected text.")
        tags = self._tags(context)
        per_tenant = self.options["per_tenant"].resolve(context) if "per_tenant" in self.options else False
        cache = tagged_cache()
        address = address_of(
            cache.key_prefix,
            current_tenant() if per_tenant else None,
            f"template.{name}",
            "",
            self._ident(context),
            tags,
        )
        return Lookup(cache, address)

    def _ident(self, context: Context) -> str:
        values = [plain(value.resolve(context)) for value in self.values]
        try:
            return fingerprint([values, context.autoescape, context.use_l10n, *surroundings()])
        except CacheKeyError as error:
            raise TemplateSyntaxError(f"taggedcache {self.name.token}: {error}") from error

    def _seconds(self, context: Context) -> float | None:
        given = self.seconds.resolve(context)
        if given is None:
            return None
        try:
            seconds = float(given)
        except (TypeError, ValueError):
            seconds = 0.0
        if isinstance(given, bool) or not 0 < seconds < float("inf"):
            raise TemplateSyntaxError(
                f"taggedcache: its life {self.seconds.token} is {given!r}; expected a positive number of seconds."
            )
        return seconds

    def _tags(self, context: Context) -> tuple[str, ...]:
        if "tags" not in self.options:
            return ()
        given = self.options["tags"].resolve(context)
        if given is not None and self.options["tags"].resolve(context, ignore_failures=True) is None:
            raise TemplateSyntaxError(f"taggedcache: there is no {self.options['tags'].token} for tags; quote a name.")
        listed = given.split(",") if isinstance(given, str) else given or ()
        try:
            return tag_names([name for tag in listed if (name := str(plain(tag)).strip())]) or ()
        except (TypeError, ValueError) as error:
            raise TemplateSyntaxError(
                f"taggedcache: tags={self.options['tags'].token} is {given!r}; expected text with commas or a list."
            ) from error


@register.tag
def taggedcache(parser: Parser, token: Token) -> TaggedCacheNode:
    """See the module."""
    nodelist = parser.parse(("endtaggedcache",))
    parser.delete_first_token()
    _, *bits = token.split_contents()
    plain_bits = [bit for bit in bits if not _named(bit)]
    if len(plain_bits) < 2:
        raise TemplateSyntaxError(f"taggedcache needs a life and a name: {USAGE}")
    options: dict[str, FilterExpression] = {}
    for bit in bits:
        if named := _named(bit):
            option, value = named
            if option not in OPTIONS:
                raise TemplateSyntaxError(f"taggedcache knows no {option!r}: {USAGE}")
            if option in options:
                raise TemplateSyntaxError(f"taggedcache was given {option!r} twice.")
            options[option] = parser.compile_filter(value)
    seconds, name, *values = (parser.compile_filter(bit) for bit in plain_bits)
    return TaggedCacheNode(nodelist, seconds, name, values, options)


def _named(bit: str) -> tuple[str, str] | None:
    """(name, value) of ``name=value``."""
    match = kwarg_re.match(bit)
    return (match[1], match[2]) if match and match[1] else None
