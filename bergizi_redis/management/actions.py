"""Commands that take an ACTION: what makes no sense, and what Redis does not answer, is told alike and exits with 2."""

import json
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from bergizi_redis.connections import explain
from bergizi_redis.exceptions import BergiziRedisError

NOT_ASKED = 2


class ActionCommand(BaseCommand):
    """``ACTION`` is done by the method ``_ACTION(options)``, which returns the exit code."""

    expected: ClassVar[tuple[type[Exception], ...]] = (BergiziRedisError, ValueError)

    def refuse(self, options: dict[str, Any]) -> None:
        """Raise ``CommandError`` for arguments that make no sense together."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what the action says."""
        self.refuse(options)
        try:
            code = getattr(self, f"_{options['action']}")(options)
        except self.expected as error:
            raise CommandError(str(error), returncode=NOT_ASKED) from error
        except RedisError as error:
            raise CommandError(f"{explain(error)} See `manage.py redis_health`.", returncode=NOT_ASKED) from error
        if code:
            raise SystemExit(code)

    def say(self, options: dict[str, Any], facts: Any, text: str) -> None:
        """One JSON document with ``--json``, else the text."""
        self.stdout.write(json.dumps(facts) if options["json"] else text)
