"""Whole calls that get a reply over a real socket: what each is taken for, and in what time."""

import asyncio
import sys
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from htx_async import (
    AccountMigrated,
    AuthenticationFailed,
    CancelError,
    CancelRefused,
    CancelReport,
    EndpointRetired,
    NotSent,
    Outcome,
    OutcomeUnknown,
    RateLimited,
    Verdict,
)
from htx_async.transport.decoding import LARGEST_BODY
from tests.support.bad_connections import bomb
from tests.support.fault_server import (
    OK,
    Arrived,
    Connection,
    FaultServer,
    answers,
    as_json,
    bounded,
    echoes,
    reply,
)
from tests.support.faulty_calls import LATE, OK_BODY, check_unknown, ended, tireless, told
from tests.support.instant import run
from tests.support.odd_replies import NOT_JSON

HTML = b"<!DOCTYPE html><html><body><h1>Sorry</h1></body></html>"
MOST_MEMORY = 60 * 1024
"""KiB."""


async def called(*replies: bytes) -> CancelReport:
    """The report of a call to a peer that gives these replies."""
    async with FaultServer(answers(*replies)) as server, tireless(server.url) as htx:
        report = await told(htx)
        assert len(server.requests) == len(report.attempts)
    return report


# --- nothing that is proved ----------------------------------------------------------------------


UNREADABLE = [
    "nothing",
    "HTML",
    "byte order mark",
    "Latin-1",
    "NaN",
    "a key twice",
    "a nested key twice",
    "status twice",
    "deep lists, closed",
    "deep objects",
    "5000 digits as time",
    "5000 digits as code",
]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_success_that_cannot_be_read(name: str) -> None:
    """HTTP 200 with anything but complete, unambiguous JSON of a known shape: unknown."""

    async def main() -> None:
        unreadable = answers(reply(NOT_JSON[name]))
        async with FaultServer(unreadable) as server, tireless(server.url) as htx:
            await check_unknown(htx, server)

    run(main())


BODIES = {
    "success": OK_BODY,
    "refusal": b'{"status":"error","err_code":1051,"err_msg":"No orders.","ts":1}',
    "HTML": HTML,
    "nothing": b"",
}


@pytest.mark.parametrize("status", range(300, 309))
def test_a_redirect_is_not_followed(status: int) -> None:
    """Unknown, whatever it says beside, and the host that it names is not even connected to."""

    async def main() -> None:
        async with FaultServer(answers(OK)) as other:
            place = f"{other.url}/elsewhere?Signature=x"
            bodies = (OK_BODY, BODIES["refusal"], b"")
            away = answers(*(reply(body, status, Location=place) for body in bodies))
            async with FaultServer(away) as server, tireless(server.url) as htx:
                await check_unknown(htx, server)
            assert other.connections == []

    run(main())


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_unknown_whatever_it_says(status: int, body: str) -> None:
    """A gateway's word about the exchange behind it proves nothing, a good-looking one included."""

    async def main() -> None:
        failed = answers(reply(BODIES[body], status))
        async with FaultServer(failed) as server, tireless(server.url) as htx:
            await check_unknown(htx, server)

    run(main())


# --- refusals, by status and body ----------------------------------------------------------------


KEY = b'{"status":"error","err_code":403,"err_msg":"Incorrect Access key"}'
GONE = b'{"status":404,"error":"Not Found","path":"/linear-swap-api/v1/swap_track_cancelall"}'

CLIENT_ERRORS: list[tuple[int, bytes, Outcome, type[CancelError]]] = [
    (401, KEY, Outcome.REFUSED, AuthenticationFailed),
    (401, HTML, Outcome.UNKNOWN, OutcomeUnknown),
    (401, b"", Outcome.UNKNOWN, OutcomeUnknown),
    (401, OK_BODY, Outcome.UNKNOWN, OutcomeUnknown),
    (403, KEY, Outcome.REFUSED, AuthenticationFailed),
    (403, HTML, Outcome.UNKNOWN, OutcomeUnknown),
    (403, b"", Outcome.UNKNOWN, OutcomeUnknown),
    (403, OK_BODY, Outcome.UNKNOWN, OutcomeUnknown),
    (404, GONE, Outcome.REFUSED, EndpointRetired),
    (404, HTML, Outcome.UNKNOWN, OutcomeUnknown),
    (404, b"", Outcome.UNKNOWN, OutcomeUnknown),
    (404, OK_BODY, Outcome.UNKNOWN, OutcomeUnknown),
    (429, b'{"status":"error","err_code":1032}', Outcome.REFUSED, RateLimited),
    (429, HTML, Outcome.REFUSED, RateLimited),
    (429, b"", Outcome.REFUSED, RateLimited),
    (429, OK_BODY, Outcome.REFUSED, RateLimited),
]


@pytest.mark.parametrize(("status", "body", "outcome", "error"), CLIENT_ERRORS)
def test_a_client_error_is_refused_where_it_says_why_and_unknown_elsewhere(
    status: int, body: bytes, outcome: Outcome, error: type[CancelError]
) -> None:
    """Refused where the body says why, or where 429 says it all; else unknown."""

    async def main() -> None:
        async with FaultServer(answers(reply(body, status))) as server, tireless(server.url) as htx:
            report, raised = await ended(htx)
        assert report.outcome is outcome
        assert type(raised) is error

    run(main())


AT = 1_800_000_000.0
NOW, IN_TWO, LONG_AGO, FAR = (formatdate(at, usegmt=True) for at in (AT, AT + 2, AT - 9, AT + 9e6))

PAUSES: list[tuple[str, float]] = [
    ("3", 3.0),
    ("1.5", 1.5),
    ("0.25", 0.25),
    (IN_TWO, 2.0),
    (LONG_AGO, 1.0),
    (FAR, 1.0),
    ("-1", 1.0),
    ("NaN", 1.0),
    ("inf", 1.0),
    ("86400", 1.0),
    ("1e400", 1.0),
    ("9" * 4_000, 1.0),
    ("soon", 1.0),
]


@pytest.mark.parametrize(("asked", "pause"), PAUSES, ids=lambda one: str(one)[:20])
def test_retry_after_is_obeyed_where_it_can_be_believed(asked: str, pause: float) -> None:
    """The next request comes after the pause asked for, and after one second where that is none or
    shorter; the call goes on to the exchange's answer."""
    arrivals: list[float] = []

    async def script(connection: Connection) -> None:
        for answer in (reply(b"", 429, Retry_After=asked, Date=NOW), OK):
            await connection.request()
            arrivals.append(asyncio.get_running_loop().time())
            await connection.send(answer)

    async def main() -> None:
        async with FaultServer(script) as server, tireless(server.url) as htx:
            report = await told(htx)
        assert report.outcome is Outcome.CANCELLED
        assert [attempt.paused for attempt in report.attempts] == [pause, 0.0]
        assert arrivals[1] - arrivals[0] == pytest.approx(max(1.0, pause), abs=LATE)

    run(main())


def test_a_pause_beyond_the_deadline_ends_the_call_at_once() -> None:
    """RateLimited tells when to come back; neither this call nor the next waits in vain."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told_off = reply(b"", 429, Retry_After="9")
        async with FaultServer(answers(told_off)) as server, tireless(server.url) as htx:
            began = loop.time()
            with pytest.raises(RateLimited) as caught:
                await htx.cancel_all_trailing("BTC-USDT", deadline=5.0)
            assert caught.value.retry_after == 9.0
            with pytest.raises(NotSent):
                await htx.cancel_all_trailing("BTC-USDT", deadline=5.0)
            assert loop.time() - began < LATE
            assert len(server.requests) == 1

    run(main())


# --- the same thing in other words ---------------------------------------------------------------


def ok(**data: Any) -> dict[str, Any]:
    """A success with these fields."""
    return {"status": "ok", "data": {"errors": [], "successes": "11,12", **data}, "ts": 5}


def one_refused(**row: Any) -> dict[str, Any]:
    """A success but for one order."""
    return ok(errors=[{"order_id": "7", "err_code": 1000, "err_msg": "busy", **row}])


BIG = 826054603831312384

NUMBERS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (ok(successes=[11, 12]), ("11", "12")),
    (ok(successes=[BIG, f"{BIG + 1}"]), (f"{BIG}", f"{BIG + 1}")),
]
SUCCESSES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    *NUMBERS,
    (ok(), ("11", "12")),
    (ok(successes=["11", "12"]), ("11", "12")),
    (ok(successes=""), ()),
    (ok(successes=None), ()),
    (ok(successes=[]), ()),
    (ok(errors=None), ("11", "12")),
    (ok(new={"a": [None, 1.5, {}]}), ("11", "12")),
    ({**ok(), "ts": "5", "new": [{}], "message": ""}, ("11", "12")),
]


@pytest.mark.parametrize(("document", "ids"), SUCCESSES)
def test_a_success_in_any_dress(document: dict[str, Any], ids: tuple[str, ...]) -> None:
    """Ids and time as numbers or as text, no ids in three ways, and fields nobody knows; ids as
    numbers count, but may have been rounded on their way."""

    async def main() -> None:
        report = await called(as_json(document))
        assert report.outcome is (Outcome.CANCELLED if ids else Outcome.NOTHING_TO_CANCEL)
        assert (report.successes, report.ts) == (ids, 5)
        assert report.ids_complete is ((document, ids) not in NUMBERS)
        assert len(report.attempts) == 1

    run(main())


NO_ERROR: tuple[object, ...] = (0, 200, "0", "200", "", None)
CODED = [{name: code} for name in ("err_code", "err-code", "code") for code in NO_ERROR]


@pytest.mark.parametrize("beside", CODED)
def test_a_success_may_name_a_code_that_is_none(beside: dict[str, object]) -> None:
    """0, 200, "" and null beside "ok" are no errors."""

    async def main() -> None:
        assert (await called(as_json({**ok(), **beside}))).outcome is Outcome.CANCELLED

    run(main())


@pytest.mark.parametrize(
    "document",
    [
        {**ok(), "err_code": 1051},
        {**ok(), "err_code": "1032"},
        {**ok(), "err-code": "invalid-parameter"},
        {**ok(), "code": 6002},
        {**ok(successes=""), "err_code": 1000},
        {**ok(), "code": 0, "err_code": 200},
        {"status": "error", "err_code": 1051, "code": 1000, "ts": 5},
        {"status": "error", "err_code": 1051, "err-code": "1061", "ts": 5},
        {"status": "error", "err_code": 403, "code": 200, "ts": 5},
        {"code": 200, "err_code": 1051, "data": [], "ts": 5},
    ],
)
def test_a_body_that_contradicts_itself_is_unknown(document: dict[str, Any]) -> None:
    """ "ok" beside the code of an error, or two different codes: nobody knows which holds."""

    async def main() -> None:
        report = await called(as_json(document))
        assert {one.verdict for one in report.attempts} == {Verdict.UNKNOWN}
        assert report.outcome is Outcome.UNKNOWN

    run(main())


@pytest.mark.parametrize("order_id", ["7", 7])
@pytest.mark.parametrize("code", ["1000", 1000])
def test_an_order_refused_in_any_dress(order_id: str | int, code: str | int) -> None:
    """Partial, with the id as text and the code as a number, however they came."""

    async def main() -> None:
        report = await called(as_json(one_refused(order_id=order_id, err_code=code)))
        assert report.outcome is Outcome.PARTIAL
        (error,) = report.errors
        assert (error.order_id, error.err_code) == ("7", 1000)

    run(main())


CODES: list[tuple[int, Outcome, type[CancelError] | None]] = [
    (1051, Outcome.NOTHING_TO_CANCEL, None),
    (1014, Outcome.REFUSED, CancelRefused),
    (403, Outcome.REFUSED, AuthenticationFailed),
    (4002, Outcome.REFUSED, AccountMigrated),
    (10000, Outcome.REFUSED, EndpointRetired),
    (1004, Outcome.UNKNOWN, OutcomeUnknown),
]


@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
@pytest.mark.parametrize(("code", "outcome", "error"), CODES)
def test_a_code_in_any_dress(
    code: int, outcome: Outcome, error: type[CancelError] | None, as_text: bool
) -> None:
    """A code means the same as a number and as text, and is a number on the report."""
    given = str(code) if as_text else code
    document = {"status": "error", "err_code": given, "err_msg": "?", "ts": "5", "new": None}

    async def main() -> None:
        async with FaultServer(answers(as_json(document))) as server, tireless(server.url) as htx:
            report, raised = await ended(htx)
        assert report.outcome is outcome
        assert {attempt.code for attempt in report.attempts} == {code}
        assert report.ts == 5
        assert (raised and type(raised)) is error

    run(main())


# --- a reply that is too much --------------------------------------------------------------------


VICTIM = """
import asyncio, sys
from pathlib import Path
from htx_async import Credentials, HtxSession, OutcomeUnknown, RetryPolicy

async def main():
    keys, policy = Credentials("access-key", "secret-key"), RetryPolicy(repeat_unknown=False)
    async with HtxSession(keys, base_urls=sys.argv[1], retry=policy) as htx:
        for _ in range(2):
            try:
                await htx.cancel_all_trailing("BTC-USDT")
            except OutcomeUnknown as error:
                print(len(error.report.attempts))

asyncio.run(main())
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
@bounded
async def test_a_gzip_bomb_costs_little_memory() -> None:
    """Half a megabyte that would be 500, and a reply small enough to be decoded that would be 240:
    unknown after one request each, in a process that at no time had 60 MB resident."""
    large, small = (reply(bomb(size), Content_Encoding="gzip") for size in (500, 240))
    assert 450_000 < len(large) < 550_000
    assert len(small) < LARGEST_BODY
    async with FaultServer(answers(large), answers(small)) as server:
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", VICTIM, server.url, stdout=asyncio.subprocess.PIPE
        )
        try:
            printed, _ = await victim.communicate()
        finally:
            if victim.returncode is None:
                victim.kill()
                await victim.wait()
        assert len(server.requests) == 2
    *attempts, peak = printed.split()
    assert attempts == [b"1", b"1"]
    assert int(peak) < MOST_MEMORY


# --- what came, to be shown to the exchange ------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "shown"),
    [
        (b"<html>busy</html>", 200, "<html>busy</html>"),
        (b"<html>busy</html>", 502, "<html>busy</html>"),
        (b"<html>wait</html>", 429, "<html>wait</html>"),
        (b'{"status":"ok"}', 200, '{"status":"ok"}'),
        (b"\xff\x1b[31m" + b"x" * 400, 200, "\ufffd\\x1b[31m"),
        (b"", 200, ""),
    ],
)
def test_what_could_not_be_believed_is_kept(body: bytes, status: int, shown: str) -> None:
    """The first 300 characters, escaped; with every kind of status."""

    async def main() -> None:
        async with FaultServer(answers(reply(body, status))) as server, tireless(server.url) as htx:
            report = await told(htx)
        excerpts = {attempt.excerpt for attempt in report.attempts}
        assert all(excerpt.startswith(shown) and len(excerpt) <= 303 for excerpt in excerpts)

    run(main())


@pytest.mark.parametrize("before", [0, 250, 290])
@pytest.mark.parametrize("copies", [1, 40])
def test_an_excerpt_holds_no_part_of_a_secret(before: int, copies: int) -> None:
    """A reply that repeats the signed query, wherever it is cut."""

    async def main() -> None:
        def echo(request: Arrived) -> bytes:
            return reply(b"x" * before + f"{request.target} ".encode() * copies)

        async with FaultServer(echoes(echo)) as server, tireless(server.url) as htx:
            report = await told(htx)
        for attempt, request in zip(report.attempts, server.requests, strict=True):
            signature = unquote(request.target.partition("&Signature=")[2])
            for part in (signature[:12], signature[-12:], quote(signature)[:12]):
                assert part not in attempt.excerpt
            assert attempt.excerpt

    run(main())


def test_what_is_believed_has_no_excerpt() -> None:
    """Successes and refusals by a code say all themselves."""

    async def main() -> None:
        for document in (ok(), {"status": "error", "err_code": 1014, "err_msg": "no", "ts": 5}):
            report = await called(as_json(document))
            assert {attempt.excerpt for attempt in report.attempts} == {""}

    run(main())
