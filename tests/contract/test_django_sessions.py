"""Django's own contract of a session store, run on this engine: ``SessionTestsMixin`` of its test suite, whole."""

import ast
from types import ModuleType
from typing import Any

from django.test import SimpleTestCase

from bergizi_redis.sessions.backend import SessionStore
from tests.contract.django_source import django_tests_path


def contract() -> Any:
    """``SessionTestsMixin``, compiled alone: the rest of its module needs models that only Django's runner has."""
    path = django_tests_path() / "sessions_tests" / "tests.py"
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    wanted: list[ast.stmt] = [
        node
        for node in tree.body
        if (isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0))
        or (isinstance(node, ast.ClassDef) and node.name == "SessionTestsMixin")
    ]
    module = ModuleType("sessions_tests.contract")
    exec(compile(ast.Module(wanted, []), str(path), "exec"), vars(module))  # noqa: S102 – Django's own tests
    return module.SessionTestsMixin


class RedisSessionTests(contract(), SimpleTestCase):  # type: ignore[misc]
    backend = SessionStore


def test_the_contract_is_there_whole() -> None:
    names = [name for name in dir(RedisSessionTests) if name.startswith("test_")]
    assert len(names) >= 65
    assert sum("async" in name or "_asave_" in name for name in names) >= 28
