"""What a setting of the simulated exchange may be, checked before anything happens."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

MOST_SECONDS = 86_400.0
"""A day: what lies further ahead happens in no test and no rehearsal."""


class InvalidSetting(ValueError):
    """A setting of the simulated exchange, or a command on its control path, that cannot be.

    The message names it and what it may be; nothing has happened.
    """


def number(
    name: str, value: object, least: float = 0.0, most: float = MOST_SECONDS, *, above: bool = False
) -> float:
    """A finite number between bounds, the lower one excluded if `above`; no bool, no text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared first: an integer may be beyond every float, and nan is beyond every bound.
    if is_number and least <= value <= most and (value > least or not above):  # type: ignore[operator]  # is_number
        return float(value)  # type: ignore[arg-type]  # as above
    than = "above" if above else "from"
    raise InvalidSetting(f"{name} is a number {than} {least:g} to {most:g}")


def whole(name: str, value: object, least: int = 1, most: int = 1_000_000) -> int:
    """A whole number between bounds, both of them included."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidSetting(f"{name} is a whole number from {least} to {most}")
    return value


def flag(name: str, value: object) -> bool:
    """True or False alone: "no" is true in Python."""
    if not isinstance(value, bool):
        raise InvalidSetting(f"{name} is True or False")
    return value


def one_of(name: str, value: object, known: Iterable[object]) -> Any:
    """One of `known`, of the same type."""
    choices = tuple(known)
    if not any(value == one and type(value) is type(one) for one in choices):
        raise InvalidSetting(f"{name} is one of {', '.join(map(str, choices))}")
    return value


def text(name: str, value: object) -> str:
    """Any text but the empty one."""
    if not isinstance(value, str) or not value:
        raise InvalidSetting(f"{name} is a text, and not empty")
    return value


def seconds_or_source(name: str, value: object) -> Any:
    """Seconds, or what returns them."""
    return value if callable(value) else number(name, value)


def names(name: str, value: object) -> tuple[str, ...] | None:
    """Several texts, or None; one text alone would be taken for its letters."""
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidSetting(f"{name} is several names, such as ['BTC-USDT'], or None")
    return tuple(text(name, one) for one in value)


Reader = Callable[[str, Any], Any]


def form(given: object, readers: Mapping[str, Reader], required: Collection[str]) -> dict[str, Any]:
    """The fields of a JSON object, each by its reader; InvalidSetting for what is missing, unknown
    or of another kind.
    """
    if not isinstance(given, dict):
        raise InvalidSetting("the body is a JSON object")
    for name in given:
        if name not in readers:
            known = ", ".join(readers) or "none"
            raise InvalidSetting(f"there is no field {name!r}; there are: {known}")
    for name in required:
        if name not in given:
            raise InvalidSetting(f"the field {name} is missing")
    return {name: readers[name](name, value) for name, value in given.items()}
