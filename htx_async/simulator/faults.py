"""Misbehaviour on request, without I/O: a queue of faults and one method for each kind."""

import threading
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack, assert_never

from htx_async.simulator.endpoints import Call, check_name
from htx_async.simulator.messages import (
    HTML,
    OFFLINE,
    Answer,
    Fate,
    Page,
    Shape,
    contradiction,
    not_found,
    shaped,
)
from htx_async.simulator.settings import InvalidSetting, flag
from htx_async.simulator.threads import one_at_a_time

_BAD_GATEWAY = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>openresty</center>\r\n"
    b"</body>\r\n</html>\r\n"
)

_ANY = "any"


class Which(TypedDict, total=False):
    """Which requests a fault is for: the next `times` (1) that are for `call`, the name of a row of
    the table of endpoints or "any" ("cancelall"), and name `contract_code` (None: whichever).
    """

    times: int
    contract_code: str | None
    call: str


@dataclass(frozen=True, slots=True)
class Fault:
    """`page` replaces the answer; without one the fault only touches the connection. `work` says
    whether the request is checked and carried out all the same; `delay` is in seconds. `is_first`:
    before the rate limit is looked at.
    """

    work: bool
    page: Page | None = None
    fate: Fate = "answered"
    delay: float = 0.0
    is_first: bool = False


Outage = Literal["silent", "reset", "lost", "gateway", "maintenance"]


def fault_of(kind: Outage, left: float) -> Fault:
    """What one request meets in an outage that goes on for `left` seconds."""
    match kind:
        case "silent":
            return Fault(work=False, fate="dropped", delay=left, is_first=True)
        case "reset":
            return Fault(work=False, fate="dropped", is_first=True)
        case "lost":
            return Fault(work=True, fate="dropped", delay=left)
        case "gateway":
            return Fault(work=False, page=_bad_gateway, is_first=True)
        case "maintenance":
            return Fault(work=False, page=shaped(3, 0, "", 200), is_first=True)
        case _:
            assert_never(kind)


def _bad_gateway(ts: int, path: str) -> Answer:
    return Answer(_BAD_GATEWAY, 502, content_type=HTML, metered=False)


@one_at_a_time
class Misbehaviour:
    """Each method arms a fault for the next `times` cancel-all requests of either margin mode, or
    with `call` for those of another row of the table of endpoints or of "any"; with `contract_code`
    for those only that name this contract. InvalidSetting for `times` below 1 and for no such row.

    A request takes one fault at most, the oldest that matches; a fault nobody took stays. A
    fault that does no work answers before anything else is checked, signature included; with
    `after_work` the request is carried out first. A request
    over the rate limit is answered 1032 first: then the oldest match is taken if it only touches
    the connection (`late`, `lose_before_work`, `lose_after_work`, `truncate`) and else stays.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._faults: list[tuple[str, str | None, Fault]] = []

    def late(self, seconds: float, **which: Unpack[Which]) -> None:
        """The work is done at arrival, the answer comes `seconds` later."""
        self._arm(Fault(work=True, delay=seconds), **which)

    def lose_before_work(self, **which: Unpack[Which]) -> None:
        """The connection is aborted and nothing was cancelled; the arrival is on record."""
        self._arm(Fault(work=False, fate="dropped"), **which)

    def lose_after_work(self, **which: Unpack[Which]) -> None:
        """The work is done, then the connection is aborted without an answer."""
        self._arm(Fault(work=True, fate="dropped"), **which)

    def truncate(self, **which: Unpack[Which]) -> None:
        """The work is done; the connection closes after half of the promised body."""
        self._arm(Fault(work=True, fate="truncated"), **which)

    def bad_gateway(self, *, after_work: bool = False, **which: Unpack[Which]) -> None:
        """HTTP 502 and an HTML page, as a gateway sends it."""
        self._arm(Fault(flag("after_work", after_work), _bad_gateway), **which)

    def malform(
        self, body: bytes, status: int = 200, *, after_work: bool = False, **which: Unpack[Which]
    ) -> None:
        """The bytes of `body` are sent with the HTTP `status`, under the usual headers."""
        answer = Answer(body, status)
        self._arm(Fault(flag("after_work", after_work), lambda ts, path: answer), **which)

    def refuse(
        self,
        code: int | str,
        message: str = "Simulated refusal.",
        *,
        shape: Shape | None = None,
        status: int = 200,
        code_as_text: bool = False,
        **which: Unpack[Which],
    ) -> None:
        """An error of `code` and `message` in one of the five documented shapes; nothing was
        cancelled.

        `shape` 1: `err_code`. 2: `err-code`. 3: `{"status": "maintain"}`. 4: `code`. 5: integer
        `status` with `error` and `path`. None: 4 for a V5 call, else 1. Numbers travel as numbers
        unless `code_as_text`. `status` is that of HTTP.
        """
        told = str(code) if flag("code_as_text", code_as_text) else code
        page = shaped(shape, told, message, status)
        self._arm(Fault(work=False, page=page), **which)

    def contradict(
        self,
        code: int,
        other: int | None = None,
        *,
        after_work: bool = False,
        **which: Unpack[Which],
    ) -> None:
        """A body that says two things: that all went well and nothing was there, beside the error
        `code`; or, with `other`, two errors, each by a code of its own. InvalidSetting for one code
        twice, which says one thing.
        """
        if code == other:
            raise InvalidSetting("other is a code of its own")
        page = contradiction(code, other)
        self._arm(Fault(flag("after_work", after_work), page), **which)

    def maintain(self, **which: Unpack[Which]) -> None:
        """Full maintenance (HTX API docs, "Maintenance with service suspended")."""
        self.refuse(0, shape=3, **which)

    def retire(self, *, path_gone: bool = False, **which: Unpack[Which]) -> None:
        """The call was removed: code 10000, or with `path_gone` what an unknown path gets."""
        page = not_found if flag("path_gone", path_gone) else shaped(None, 10000, OFFLINE, 200)
        self._arm(Fault(work=False, page=page), **which)

    def redirect(self, status: int, location: str, **which: Unpack[Which]) -> None:
        """An HTTP redirect of this `status` to `location`, which the real API is not known to
        send; nothing was cancelled.
        """
        answer = Answer(b"", status, headers={"Location": location}, metered=False)
        self._arm(Fault(work=False, page=lambda ts, path: answer), **which)

    def too_many(
        self, retry_after: float | str | None = None, body: bytes = b"", **which: Unpack[Which]
    ) -> None:
        """HTTP 429, whose `body` was never published; no reply seen carries a `Retry-After`, here
        `retry_after` as given, and none without it. Nothing was cancelled.
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        answer = Answer(body, 429, headers=headers, metered=False)
        self._arm(Fault(work=False, page=lambda ts, path: answer), **which)

    @property
    def armed(self) -> int:
        """How many requests more will meet a fault that waits for them; an outage aside."""
        return len(self._faults)

    def disarm(self) -> None:
        """Forget every fault that nobody has taken yet."""
        self._faults.clear()

    def _arm(
        self,
        fault: Fault,
        *,
        times: int = 1,
        contract_code: str | None = None,
        call: str = Call.CANCEL_ALL,
    ) -> None:
        if times < 1:
            raise InvalidSetting("times is at least 1")
        check_name(call, _ANY)
        self._faults.extend([(call, contract_code and contract_code.upper(), fault)] * times)

    def _take(self, call: str, contract_code: str | None, *, exceeded: bool) -> Fault | None:
        named = contract_code and contract_code.upper()
        for index, (target, wanted, fault) in enumerate(self._faults):
            if target in (call, _ANY) and wanted in (None, named):
                if exceeded and fault.page is not None:
                    return None
                del self._faults[index]
                return fault
        return None
