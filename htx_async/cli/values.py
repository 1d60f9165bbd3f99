"""The values of options, from text: what typer would load pydantic for, and only newer typers do.

They ask pydantic about every value of every command, also about those that were not given; whoever
asks for help would wait for it.
"""

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import typer

from htx_async.arguments import shown


class Values(NamedTuple):
    """What stands in for a parameter's coercion. `of`: the value that a text means."""

    of: Callable[[Any], Any]

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value, or a usage error that names the option; of nothing given, nothing."""
        is_many = param.multiple or param.nargs == -1
        if value is None:
            return () if is_many else None
        try:
            return [self.of(one) for one in value] if is_many else self.of(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None


def take_text(parameter: Any) -> None:
    """Let a typer parameter read its values here, if it is of a kind that is known here; others,
    and those of older typers, are left alone."""
    described = getattr(parameter, "type_descriptor", None)
    of = None if described is None else _reader(described.annotation, parameter)
    if of is not None:
        parameter.get_runtime_param = partial(Values, of)


def choices_of(parameter: Any) -> list[str]:
    """The words that a typer parameter may have; none where it may have others."""
    described = getattr(parameter, "type_descriptor", None)
    kind = None if described is None else described.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(one.value) for one in kind]
    # Of older typers.
    return list(getattr(getattr(parameter, "type", None), "choices", ()))


def _reader(kind: Any, parameter: Any) -> Callable[[Any], Any] | None:
    if kind in (str, list[str]):
        return str
    if kind is bool:
        # A flag is a truth value before it comes here; only one that was not given is none.
        return bool
    if kind in (int, float):
        return partial(_number, kind, parameter.min, parameter.max)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_member, kind)
    return None


def _number(
    kind: Callable[[Any], float], least: float | None, most: float | None, text: Any
) -> float:
    try:
        number = kind(text)
    except ValueError:
        # Not shown: what was meant for another option may hold a password.
        named = "a whole number" if kind is int else "a number"
        raise ValueError(f"it has to be {named}.") from None
    if (least is not None and number < least) or (most is not None and number > most):
        bounds = " and ".join(
            f"{word} {bound}"
            for word, bound in (("at least", least), ("at most", most))
            if bound is not None
        )
        raise ValueError(f"it has to be {bounds}, not {number}.")
    return number


def _member(kind: type[Enum], text: Any) -> Enum:
    try:
        # As a contract may be: in capitals.
        return kind(text.lower() if isinstance(text, str) else text)
    except ValueError:
        known = ", ".join(repr(one.value) for one in kind)
        # Not as it is: what was meant for another option may hold a password.
        raise ValueError(f"{shown(text)} is not one of {known}.") from None
