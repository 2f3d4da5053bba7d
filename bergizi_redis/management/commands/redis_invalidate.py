"""``manage.py redis_invalidate TAG… [--tenant T] [--all] [--owed]``: void cached entries by tag."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.outbox import relay_all
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.connections import explain
from bergizi_redis.exceptions import BergiziRedisError
from bergizi_redis.keys import validated_tenant


class Command(BaseCommand):
    help = "Void every cached entry that carries one of the tags; with --all every tagged entry."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tags", nargs="*", metavar="TAG")
        parser.add_argument("--tenant", help="only this tenant's entries, and the shared ones with those tags")
        parser.add_argument("--all", action="store_true", help="every tagged entry, or with --tenant all of its own")

        parser.add_argument("--owed", action="store_true", help="what writes have noted while Redis was down")

    def handle(self, *args: Any, **options: Any) -> None:
        tags, tenant = options["tags"], options["tenant"]
        if [bool(tags), options["all"], options["owed"]].count(True) != 1 or (options["owed"] and tenant):
            raise CommandError("Name the tags to invalidate, or --all for every entry, or --owed for the outbox.")
        if options["owed"]:
            self.stdout.write(f"Invalidated {self._relayed()} noted versions.")
            return
        try:
            tenant = None if tenant is None else validated_tenant(tenant)
            cache = tagged_cache()
            cache.void_in(cache.scope_of(tenant), tag_names(tags) if tags else None)
        except (BergiziRedisError, ValueError) as error:
            raise CommandError(str(error)) from error
        except RedisError as error:
            raise CommandError(f"{explain(error)} See `manage.py redis_health`.") from error
        if cache.state.unsent:
            raise CommandError("Redis cannot be asked, so nothing was invalidated. See `manage.py redis_health`.")
        whose = "every tenant" if tenant is None else tenant
        self.stdout.write(f"Invalidated {', '.join(tags) if tags else 'everything'} for {whose}.")

    def _relayed(self) -> int:
        try:
            return relay_all()
        except BergiziRedisError as error:
            raise CommandError(f"{error} What is noted stays noted.") from error
        except RedisError as error:
            raise CommandError(f"{explain(error)} What is noted stays noted.") from error
