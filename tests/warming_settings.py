"""Settings of a ``warm_cache`` in a process of its own: the test's prefix, and where the tenants come from."""

import os

from tests import settings
from tests.settings import *  # noqa: F403

BERGIZI_REDIS = {
    **settings.BERGIZI_REDIS,
    "KEY_PREFIX": os.environ["TEST_PREFIX"],
    "TENANTS": "tests.warmers.every_kitchen",
}
