"""The tenants of this project, for commands that go through all of them (``BERGIZI_REDIS["TENANTS"]``)."""

from collections.abc import Iterable

from kitchens.models import Kitchen


def kitchen_ids() -> Iterable[str]:
    """Each kitchen's id, in order."""
    return Kitchen.objects.values_list("pk", flat=True).iterator()
