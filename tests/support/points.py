"""On what points sources disagree, or a reply is odd, as a history met them at the exchange."""

import json
from collections.abc import Iterator
from typing import Any

from htx_async.simulator import Reply, Request
from htx_async.simulator.orders import TRAILING

ON_V1 = frozenset(
    {
        "ids as numbers",
        "ids in a list",
        "an id taken and in errors",
        "on v1: a row twice",
        "on v1: ok beside a code",
        "on v1: two codes",
        "on v1: placed between two looks",
    }
)
"""What an account on v1 can meet."""

ON_V5 = frozenset(
    {
        "an unnamed list of none",
        "an unnamed list of one",
        "an unnamed list refused",
        "null for empty",
        "an object for a list",
        "a row of another type",
        "on V5: a row twice",
        "on V5: ok beside a code",
        "on V5: two codes",
        "on V5: placed between two looks",
        "a cancel as an object",
        "a cancel at the hyphenated path",
        *(
            f"more than a page, {order}, cursor {kind}"
            for order in ("oldest first", "newest first", "newest first, next is newer")
            for kind in ("inclusive", "exclusive")
        ),
    }
)
"""What an account on V5 can meet."""

RETIRED = "a retired path"
MOVED = "moved in mid-call"

OF_ACCOUNT: dict[str, frozenset[str]] = {
    "v1": ON_V1,
    "auto": ON_V1,
    "moving": ON_V1 | ON_V5 | {RETIRED, MOVED},
    "moved": ON_V5,
    "v5": ON_V5,
}
"""What each account can meet, by its name in a history."""


def met(request: Request, reply: Reply, settings: dict[str, Any]) -> Iterator[str]:
    """The points that `reply` shows; `settings`: those of the exchange."""
    try:
        body = json.loads(reply.body) if reply.fate == "answered" else None
    except ValueError:
        return
    if not isinstance(body, dict) or "order" not in request.path + request.body.decode():
        if isinstance(body, dict):
            yield from _of_codes(request, body)
        return
    yield from _of_codes(request, body)
    is_v5 = request.path.startswith("/v5/")
    if is_v5 and "cancel" not in request.path:
        yield from _of_v5_list(request, body, settings)
    elif is_v5:
        yield from _of_v5_cancel(request, body, settings)
    elif body.get("status") == "ok":
        yield from _of_v1(body["data"])


def _of_codes(request: Request, body: dict[str, Any]) -> Iterator[str]:
    side = "on V5" if request.path.startswith("/v5/") else "on v1"
    if {"code", "err_code"} <= body.keys() and body["code"] != 200:
        yield f"{side}: two codes"
    elif "err_code" in body and (body.get("status") == "ok" or body.get("code") == 200):
        yield f"{side}: ok beside a code"
    elif 10000 in (body.get("err_code"), body.get("code")) or _is_unknown_path(body):
        yield RETIRED


def _is_unknown_path(body: dict[str, Any]) -> bool:
    return 404 in (body.get("status"), body.get("code"))


def _of_v5_list(request: Request, body: dict[str, Any], settings: dict[str, Any]) -> Iterator[str]:
    data, unnamed = body.get("data"), settings.get("v5_unnamed", "all")
    is_named = "contract_code=" in request.query
    if not is_named and request.path.endswith("opens") and unnamed != "all":
        yield f"an unnamed list {'refused' if unnamed == 'refused' else f'of {unnamed}'}"
    if body.get("code") != 200:
        return
    if data is None:
        yield "null for empty"
    if isinstance(data, dict):
        yield "an object for a list"
    rows = data if isinstance(data, list) else [data] if isinstance(data, dict) else []
    if len({row["algo_id"] for row in rows}) < len(rows):
        yield "on V5: a row twice"
    if any(row["type"] != TRAILING for row in rows):
        yield "a row of another type"
    if "from=" in request.query:
        kind = "inclusive" if settings.get("v5_inclusive") else "exclusive"
        yield f"more than a page, {settings.get('v5_order', 'oldest first')}, cursor {kind}"


def _of_v5_cancel(
    request: Request, body: dict[str, Any], settings: dict[str, Any]
) -> Iterator[str]:
    if body.get("code") != 200:
        return
    if isinstance(body.get("data"), dict):
        yield "an object for a list"
    if request.path.endswith("cancel-orders"):
        yield "a cancel at the hyphenated path"
    elif settings.get("v5_cancel") == "object":
        yield "a cancel as an object"


def _of_v1(data: dict[str, Any]) -> Iterator[str]:
    successes, rows = data.get("successes"), data.get("orders", [])
    if isinstance(successes, list) and successes:
        yield "ids as numbers" if isinstance(successes[0], int) else "ids in a list"
    elif {row["order_id"] for row in data.get("errors", [])} & {*str(successes).split(",")}:
        yield "an id taken and in errors"
    if len({row["order_id_str"] for row in rows}) < len(rows):
        yield "on v1: a row twice"
