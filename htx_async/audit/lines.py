"""An event as a line of JSON. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from htx_async.events import Event
from htx_async.report import Attempt, CancelReport


def line_of(event: Event, utc: datetime, who: Mapping[str, Any]) -> bytes:
    """The line of an event."""
    own = {field.name: getattr(event, field.name) for field in fields(event)}
    name = re.sub(r"\B(?=[A-Z])", "_", type(event).__name__).lower()
    return line(name, utc, own.pop("at"), who, own)


def line(
    event: str, utc: datetime, at: float, who: Mapping[str, Any], own: Mapping[str, Any]
) -> bytes:
    """A line: what every one has, and what is its own."""
    when = {"utc": utc.isoformat(timespec="microseconds"), "monotonic": at}
    told = {**when, "event": event, **who, **own}
    # All but ASCII is escaped: no foreign text can end a line or steer a terminal.
    return json.dumps(told, separators=(",", ":"), default=_plain).encode() + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, Attempt | CancelReport):
        return value.model_dump(mode="json")
    return f"<{type(value).__name__}>"
