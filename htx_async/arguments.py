"""Checks of what users hand in.

Nothing slow to load: the command line reads base URLs with them before it knows its options.
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from htx_async.errors import InvalidRequest

T = TypeVar("T")


def as_seconds(name: str, value: Any, *, least: float | None = None) -> float:
    """`value` as seconds: finite, and positive or, where `least` is given, at least that.

    Raises `InvalidRequest` for anything else, truth values and NaN included.
    """
    # An integer may be too large for any float.
    with suppress(OverflowError):
        seconds = float(value) if _is_number(value, int | float) else math.nan
        is_enough = seconds > 0 if least is None else seconds >= least
        if is_enough and math.isfinite(seconds):
            return seconds
    bound = "a positive, finite number" if least is None else f"a finite number from {least:g} up"
    raise InvalidRequest(f"{name} must be {bound} of seconds, not {shown(value)}")


def as_count(name: str, value: Any) -> int:
    """`value` as a whole number of at least 1; `InvalidRequest` for anything else, and for one that
    no list could be as long as."""
    if _is_number(value, int) and 1 <= value <= sys.maxsize:
        return int(value)
    raise InvalidRequest(f"{name} must be a whole number of at least 1, not {shown(value)}")


def check_flags(**given: object) -> None:
    """`InvalidRequest` unless each is True or False: "no" is true in Python, and so is "0"."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise InvalidRequest(f"{name} must be True or False, not {shown(value)}")


def check_line(name: str, value: object) -> None:
    """`InvalidRequest` unless `value` is a line of text, and not an empty one."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InvalidRequest(f"{name} must be a line of text, not {shown(value)}")


def as_instance(name: str, value: object, kind: type) -> None:
    """`InvalidRequest` unless `value` is a `kind`."""
    if not isinstance(value, kind):
        raise InvalidRequest(f"{name} must be {kind.__name__}, not {type(value).__name__}")


def shown(value: object) -> str:
    """`value` as an error may show it: in one line, cut short, whatever it is."""
    try:
        text = repr(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        # An integer of more digits than Python would write, or a foreign `__repr__`.
        return f"a {type(value).__name__} that cannot be shown"
    if "://" in text:
        # What was meant for another argument may hold a password.
        return "a URL"
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def listed(problems: Sequence[tuple[str, str]]) -> str:
    """The first few of many that have a problem, each problem once with all that share it, and how
    many there are beside them."""
    of: dict[str, list[str]] = {}
    for named, problem in problems[:_MOST_PROBLEMS]:
        of.setdefault(problem, []).append(named)
    told = [": ".join(filter(None, (", ".join(all_), one))) for one, all_ in of.items()]
    more = len(problems) - _MOST_PROBLEMS
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def each_of(
    name: str, values: object, whose: str, example: str, check: Callable[[Any], T]
) -> list[T]:
    """Each of `values` as `check` gives it; `InvalidRequest` for none, for a plain string, whose
    letters would be taken for some, and for all together that `check` refuses."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        what, kind = name.replace("_", " "), type(values).__name__
        raise InvalidRequest(f"{name} must be a sequence of {what}, not {kind}{example}")
    checked, wrong = [], list[tuple[str, str]]()
    for place, each in enumerate(values):
        try:
            checked.append(check(each))
        except InvalidRequest as error:
            wrong.append((f"{name}[{place}], {shown(each)}", str(error)))
    if wrong:
        raise InvalidRequest(listed(wrong))
    if not checked:
        raise InvalidRequest(f"{name} is empty; an empty list never means all {whose}")
    return checked


def key_problem(name: str, value: object) -> str | None:
    """What is wrong with a key that is called `name`, without a part of it; None for nothing."""
    if not isinstance(value, str):
        return f"{name} must be a string, not {type(value).__name__}"
    if not value:
        return f"{name} is empty"
    if "-----BEGIN" in value:
        return f"{name} is in PEM form; such keys are for Credentials.ed25519(), in Python alone"
    if value != value.strip():
        return f"{name} begins or ends with space; a pasted key often does"
    if not value.isprintable():
        return f"{name} holds a control or invisible character; a pasted key often does"
    return None


_LONGEST_SHOWN = 64
_MOST_PROBLEMS = 5


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def split_url(url: object) -> SplitResult | None:
    """The parts of a URL; None for what is none, or has a port that there cannot be."""
    # urlsplit would drop spaces and line ends without a word.
    if not isinstance(url, str) or " " in url or not url.isprintable():
        return None
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        return None if parts.port == 0 else parts
    except ValueError:
        return None
