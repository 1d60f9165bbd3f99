"""Whether what a mass cancel reports is what the exchange's book says."""

from collections.abc import Iterator
from typing import Any

from benchmarks.time_to_flat.situations import Situation

_PUBLIC = ("swap_contract_info", "/timestamp")


def problems(
    situation: Situation, url: str, calls: list[dict[str, Any]], book: dict[str, Any]
) -> list[str]:
    """What is not so, in words; nothing where every report is true and clear, every contract was
    asked for that has to be, and every request is told. `url`: that of the exchange."""
    found = [word for call in calls for word in _not_so(call["report"], len(calls) == 1, book)]
    told = {i for call in calls for each in call["report"]["reports"] for i in each["successes"]}
    if told != set(book["gone"]):
        found.append(f"{len(told ^ set(book['gone']))} orders are told wrongly by all together")
    arrived = [one for one in book["arrivals"] if not one[1].endswith(_PUBLIC)]
    sent = [_sent(call["report"], url) for call in calls]
    if not max(sent) <= len(arrived) <= sum(sent):
        found.append(f"{sent} requests are told, and {len(arrived)} came")
    if situation.account == "v1" and not situation.is_all:
        asked = {code for _, path, code in arrived if path.endswith("cancelall")}
        found += [f"{code} was not cancelled" for code in situation.codes if code not in asked]
    return found


def _not_so(report: dict[str, Any], is_alone: bool, book: dict[str, Any]) -> Iterator[str]:
    gone = set(book["gone"])
    for each in report["reports"]:
        code, outcome, ids = each["contract_code"], each["outcome"], set(each["successes"])
        placed = set(book["placed"].get(code, ()))
        if not each["is_clear"]:
            yield f"{code} is {outcome}"
        elif placed - gone:
            yield f"{code} is told as clear, and has open orders"
        if not ids <= placed & gone:
            yield f"{code}: an id is invented"
        if is_alone and each["ids_complete"] and ids != placed & gone:
            yield f"{code}: an id is missing"
        if is_alone and outcome not in _fitting(each, bool(placed)):
            yield f"{code} is told as {outcome}"


def _fitting(report: dict[str, Any], had_orders: bool) -> tuple[str, ...]:
    """The outcomes that a clear report may have."""
    is_lost = any(attempt["verdict"] == "unknown" for attempt in report["attempts"])
    again = ("clear_after_retry",) * is_lost
    return ("cancelled" if had_orders else "nothing_to_cancel", *again)


def _sent(report: dict[str, Any], url: str) -> int:
    """Requests to the exchange that it tells of."""
    told = (one for each in report["reports"] for one in (*each["attempts"], *each["reads"]))
    return len({one["request"] for one in told if one["sent"] and one["base_url"] == url})
