"""``{% taggedcache %}``: what is kept, what it varies on, what voids it, and what a wrong tag says.

Guards taken away once to see these tests go red: storing under the token of before rendering, the language and
autoescaping in the name of a piece, and the tenant.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.cache import caches
from django.template import Context, Template, TemplateSyntaxError
from django.utils import timezone, translation
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.exceptions import TenantRequired
from bergizi_redis.tenancy import use_tenant
from tests.models import Dish

BODY = "{{ count }} {{ text }}"


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


class Counter:
    """``{{ count }}`` is how often the body was rendered."""

    def __init__(self) -> None:
        self.times = 0
        self.before: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        self.times += 1
        self.before()
        return str(self.times)


@pytest.fixture
def counter() -> Counter:
    return Counter()


def render(tag: str, body: str = BODY, before: str = "", **context: Any) -> str:
    source = f"{{% load taggedcache %}}{before}{{% taggedcache {tag} %}}{body}{{% endtaggedcache %}}"
    return str(Template(source).render(Context(context)))


def test_a_piece_is_rendered_once_until_its_tag_is_voided(cache: TaggedRedisCache, counter: Counter) -> None:
    tag = '300 "menus" tags="menus, stock"'
    assert [render(tag, count=counter) for _ in range(3)] == ["1 "] * 3
    for name in ("menus", "stock", "template.menus"):
        before = counter.times
        cache.invalidate_tags([name])
        assert [render(tag, count=counter) for _ in range(2)] == [f"{before + 1} "] * 2
    cache.invalidate_tags(["other"])
    assert render(tag, count=counter) == f"{counter.times} "


@pytest.mark.parametrize("tags", [["menus"], ("menus",), "menus", {"menus"}, " menus ,", mark_safe("menus")])
def test_tags_may_be_a_variable(cache: TaggedRedisCache, counter: Counter, tags: Any) -> None:
    for expected in ("1 ", "2 "):
        assert render('300 "menus" tags=given', count=counter, given=tags) == expected
        cache.invalidate_tags(["menus"])


@pytest.mark.parametrize("tags", [None, [], "", ()])
def test_no_tags_are_fine(counter: Counter, tags: Any) -> None:
    for _ in range(2):
        assert render('300 "menus" tags=given', count=counter, given=tags) == "1 "


def test_a_piece_varies_on_its_values_and_their_types(counter: Counter) -> None:
    values = [1, "1", True, 1.0, None, "", [1], ("a", "b"), {"a": 1}]
    for _ in range(2):
        for value in values:
            render('300 "menus" value', count=counter, value=value)
    assert counter.times == len(values)
    for same in ("x", mark_safe("x"), gettext_lazy("x")):
        render('300 "menus" value', count=counter, value=same)
    render('300 "menus" "x"', count=counter)
    assert counter.times == len(values) + 1


def test_who_is_not_signed_in_is_nobody(counter: Counter) -> None:
    for _ in range(2):
        render('300 "menus" user', count=counter, user=AnonymousUser())
    assert counter.times == 1


@pytest.mark.django_db
def test_a_saved_model_has_a_name(counter: Counter) -> None:
    for dish in [*(Dish.objects.create(name=name) for name in ("a", "b")), *Dish.objects.all()]:
        render('300 "menus" dish', count=counter, dish=dish)
    assert counter.times == 2


def test_names_tell_pieces_apart(counter: Counter) -> None:
    for name in ("a", "b", "a"):
        render("300 name", count=counter, name=name)
    assert counter.times == 2


def test_each_language_time_zone_and_way_of_escaping_has_a_piece_of_its_own(counter: Counter) -> None:
    for _ in range(2):
        for language in ("en", "id"):
            with translation.override(language):
                render('300 "menus"', count=counter)
        for zone in ("Asia/Jakarta", "Asia/Jayapura"):
            with timezone.override(zone):
                render('300 "menus"', count=counter)
    assert counter.times == 4
    for _ in range(2):
        assert render('300 "escaped"', "{{ text }}", text="<b>") == "&lt;b&gt;"
        source = (
            '{% load taggedcache %}{% autoescape off %}{% taggedcache 300 "escaped" %}{{ text }}{% endtaggedcache %}'
            "{% endautoescape %}"
        )
        assert Template(source).render(Context({"text": "<b>"})) == "<b>"


def test_an_empty_piece_is_a_hit(counter: Counter) -> None:
    for _ in range(2):
        assert render('300 "menus"', "{% if count|stringformat:'s' %}{% endif %}", count=counter) == ""
    assert counter.times == 1


def test_what_fails_is_not_kept(counter: Counter) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    counter.before = fail
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            render('300 "menus"', count=counter)
    assert counter.times == 2


def test_a_piece_of_before_an_invalidation_is_not_served_after_it(cache: TaggedRedisCache, counter: Counter) -> None:
    """The writer writes while the piece is rendered."""
    tag = '300 "menus" tags="menus"'
    counter.before = lambda: cache.invalidate_tags(["menus"])
    assert render(tag, count=counter) == "1 "
    counter.before = lambda: None
    assert render(tag, count=counter) == "2 "
    assert render(tag, count=counter) == "2 "


def test_each_tenant_has_its_own(cache: TaggedRedisCache, counter: Counter) -> None:
    tag = '300 "menus" tags="menus" per_tenant=True'
    for _ in range(2):
        for tenant, expected in (("sppg-a", "1 "), ("sppg-b", "2 ")):
            with use_tenant(tenant):
                assert render(tag, count=counter) == expected
    cache.invalidate_tags(["menus"], tenant="sppg-b")
    with use_tenant("sppg-a"):
        assert render(tag, count=counter) == "1 "
    with pytest.raises(TenantRequired):
        render(tag, count=counter)
    assert render('300 "menus" tags="menus" per_tenant=False', count=counter) == "3 "


@pytest.mark.parametrize("seconds", ["300", "seconds", "None", "300.5", '"300"'])
def test_a_life_may_be_a_number_or_a_variable(counter: Counter, seconds: str) -> None:
    for _ in range(2):
        assert render(f'{seconds} "menus"', count=counter, seconds=60) == "1 "


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("", "needs a life and a name"),
        ("300", "needs a life and a name"),
        ('tags="a" 300', "needs a life and a name"),
        ('300 "menus" tag="menus"', "knows no 'tag'"),
        ('300 "menus" tags="a" tags="b"', "twice"),
        ('0 "menus"', "positive number of seconds"),
        ('-1 "menus"', "positive number of seconds"),
        ('unknown "menus"', "positive number of seconds"),
        ('yes "menus"', "positive number of seconds"),
        ('300 "menus" tags=menus', "quote a name"),
        ('300 "menus" tags=number', "text with commas"),
        ("300 unknown", "expected text"),
        ('300 ""', "expected text"),
        ('300 "menus" thing', "no stable name"),
    ],
)
def test_a_wrong_tag_says_what_is_wrong(tag: str, says: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=says):
        render(tag, yes=True, number=5, thing=object())


def test_with_redis_down_the_piece_is_rendered(server: Any, counter: Counter) -> None:
    server.kill()
    assert [render('300 "menus" tags="menus"', count=counter) for _ in range(2)] == ["1 ", "2 "]


def test_a_hit_is_one_round_trip(counter: Counter, commands: Any) -> None:
    render('300 "menus" tags="menus"', count=counter)
    with commands() as log:
        render('300 "menus" tags="menus"', count=counter)
    assert len(log) == 1
