"""Checks of what users hand in, and of where they call from."""

import asyncio
import math
from typing import Any

from htx_async.errors import InvalidRequest


def as_seconds(name: str, value: Any, *, least: float | None = None) -> float:
    """`value` as seconds: finite, and positive or, where `least` is given, at least that.

    Raises `InvalidRequest` for anything else, truth values and NaN included.
    """
    if _is_number(value, int | float) and math.isfinite(value):
        if least is None and value > 0:
            return float(value)
        if least is not None and value >= least:
            return float(value)
    bound = "a positive, finite number" if least is None else f"a finite number from {least:g} up"
    raise InvalidRequest(f"{name} must be {bound} of seconds, not {value!r}")


def as_count(name: str, value: Any) -> int:
    """`value` as a whole number of at least 1; `InvalidRequest` for anything else."""
    if _is_number(value, int) and value >= 1:
        return int(value)
    raise InvalidRequest(f"{name} must be a whole number of at least 1, not {value!r}")


def as_instance(name: str, value: object, kind: type) -> None:
    """`InvalidRequest` unless `value` is a `kind`."""
    if not isinstance(value, kind):
        raise InvalidRequest(f"{name} must be {kind.__name__}, not {type(value).__name__}")


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs here; `InvalidRequest` where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    # Raised out here: asyncio's own words do not help. A forked child has no running loop either.
    raise InvalidRequest(
        "no event loop of this process runs here, so nothing was sent; call from a coroutine under "
        "asyncio.run(...), and after a fork open a session of the child's own there"
    )


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
