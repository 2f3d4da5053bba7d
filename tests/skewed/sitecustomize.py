"""On PYTHONPATH it makes a process believe that it is ``SKEW`` seconds later, by every clock but the monotonic one."""

import datetime
import os
import time
from typing import Self

SKEW = float(os.environ["SKEW"])
real_time, real_ns = time.time, time.time_ns
real_gm, real_local = time.gmtime, time.localtime


class Skewed(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Self:
        return cls.fromtimestamp(time.time())


time.time = lambda: real_time() + SKEW
time.time_ns = lambda: real_ns() + int(SKEW * 10**9)
time.gmtime = lambda seconds=None: real_gm(time.time() if seconds is None else seconds)
time.localtime = lambda seconds=None: real_local(time.time() if seconds is None else seconds)
datetime.datetime = Skewed  # type: ignore[misc]
