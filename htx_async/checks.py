"""Checks of plain numbers that users hand in."""

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


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
