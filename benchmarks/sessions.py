"""A request with a session, beside the peers: through the middleware, a page that reads and one that writes.

Each engine runs in a process of its own, with the middleware and settings that its documentation recommends; the
processes take turns, round by round. A request is made, resolved and answered by Django's handler, WSGI's or ASGI's,
with the middleware for sessions and for log-ins; what a server does with sockets is left out. Exits 1 where a bar is
missed.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from _bench import Size, benchmark, size_asked
from _child import Child, serve
from _engines import ENGINES, OUR, missing
from _measure import Times, bar, code, lines, progress

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the servers of the tests

DJANGO_AUTH = f"{OUR}, Django's auth"
WAYS = {"sync": ("threads", 1.2), "async": ("tasks", 1.5)}  # the bar: a page that reads, of the next best's time
PAGES = ("read", "write")
Found = dict[tuple[str, int], Times]  # by page and number at a time


def places(stack: ExitStack, names: list[str]) -> dict[str, str]:
    """Where each engine has its database: a directory, or the port of a PostgreSQL."""
    directory, port = stack.enter_context(tempfile.TemporaryDirectory()), None
    found = {}
    for name in names:
        found[name] = directory
        if ENGINES[name].database == "postgresql":
            from tests.postgres.cluster import postgresql

            port = port or str(stack.enter_context(postgresql()))
            found[name] = port
    return found


def measurable(size: Size) -> list[str]:
    from tests.postgres.cluster import programs

    found = []
    for name, engine in ENGINES.items():
        if size.is_smoke and name not in (OUR, "cached_db, django-redis"):
            continue
        why = missing(engine, programs() is not None)
        print(f"  {name:30}" + (f"skipped: {why}" if why else f"besides the data: {engine.does}"))
        if why is None:
            found.append(name)
    return found


def measured(children: dict[str, Child], way: str, size: Size) -> Found:
    found: Found = {(page, many): Times() for page in PAGES for many in (1, 4, 16)}
    rounds = size.of(40, 8, 1)
    for done in range(rounds):
        progress(f"{way}, round {done + 1} of {rounds}")
        for (page, many), times in found.items():
            for name, child in children.items():
                wall, cpu = child.ask("visit", page=page, many=many, number=size.of(32, 32, 16))
                times.add(name, (wall, cpu))
    progress("")
    return found


def show(found: Found, way: str) -> None:
    heads = [f"{many} {WAYS[way][0][: -1 if many == 1 else None]}" for page, many in found if page == "read"]
    for page in PAGES:
        here = [times for (asked, _), times in found.items() if asked == page]
        rows = {name: [times.wall(name) for times in here] for name in here[0].rounds}
        lines(f"A page that {page}s, {way}", "µs a request", heads, rows)
        used = {name: [times.cpu(name) for times in here] for name in here[0].rounds}
        lines("  of these, of the processor", "µs a request", heads, used)


def bars(found: Found, way: str) -> list[bool]:
    kept = []
    for page, least in (("read", WAYS[way][1]), ("write", None)):
        times = found[page, 1]
        ratios = {name: times.ratio(name, OUR) for name in times.rounds if not name.startswith(OUR)}
        best = min(ratios, key=lambda name: ratios[name])
        claim = f"{way} page that {page}s, time of the next best ({best}), of ours"
        if least is None:
            print(f"         {claim}: {ratios[best]:.3g} ×")
        else:
            kept.append(bar(claim, ratios[best], at_least=least, cpu=times.cpu_ratio(best, OUR)))
        if way == "async" and DJANGO_AUTH in times.rounds:
            print(f"         the same under Django's AuthenticationMiddleware: {times.ratio(best, DJANGO_AUTH):.3g} ×")
    return kept


def main() -> int:
    size, kept = size_asked(__doc__), []
    with benchmark(size), ExitStack() as stack:
        names = measurable(size)
        at = places(stack, names)
        for way in WAYS:
            those = [name for name in names if name != DJANGO_AUTH or way == "async"]  # sync, the two are one
            with ExitStack() as these:
                children = {name: these.enter_context(Child(__file__, name, way, at[name])) for name in those}
                found = measured(children, way, size)
            show(found, way)
            kept += bars(found, way)
    return code(size, kept)


def site(name: str, way: str, place: str) -> int:
    """The child."""
    from _site import site as made

    this = made(name, way, place)
    ended = serve(lambda order: this.visited(order["page"], order["many"], order["number"]))
    this.close()
    return ended


if __name__ == "__main__":
    sys.exit(site(*sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else main())
