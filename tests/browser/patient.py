"""The example's settings with more patience: where a machine stands still for a second, Redis is not away."""

from config.settings import *  # type: ignore[import-not-found] # noqa: F403
from config.settings import BERGIZI_REDIS as CHOSEN

BERGIZI_REDIS = {**CHOSEN, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0}
