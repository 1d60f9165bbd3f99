"""Whole calls over connections that fail, byte by byte: what is known afterwards, and by when.

Each fault lasts, and the policy never tires, so a call meets it again and again until its deadline.
That is judged on `InstantLoop`: real sockets, and a clock that knows no busy machine, so that the
50 ms are the package's own and not the scheduler's. `tests/whole_calls/test_time.py` judges on real
loops.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from htx_async import (
    HtxSession,
    Outcome,
    RetryPolicy,
    Verdict,
)
from tests.support.bad_connections import (
    Resolver,
    gzipped,
    kept_alive_then,
    resets_on_sight,
    resolving,
)
from tests.support.fault_server import (
    OK,
    Connection,
    FaultServer,
    Script,
    answers,
    client_tls,
    closes_after_request,
    deaf,
    drips,
    goes_on_and_on,
    reply,
    resets,
    resets_after_request,
    sends_and_resets,
    sends_and_waits,
    sends_then_closes,
    server_tls,
    shared_server_tls,
    silent,
)
from tests.support.faulty_calls import (
    DEADLINE,
    LATE,
    OK_BODY,
    SCHEMES,
    check_unknown,
    look_up_hangs,
    tireless,
    told,
)
from tests.support.instant import run

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


# --- nothing ever leaves -------------------------------------------------------------------------


async def check_not_sent(htx: HtxSession) -> None:
    """Tried again and again until the deadline, and never sent."""
    report = await told(htx)
    assert report.outcome is Outcome.NOT_SENT
    assert len(report.attempts) > 1
    assert {attempt.verdict for attempt in report.attempts} == {Verdict.NOT_SENT}
    assert not any(attempt.sent for attempt in report.attempts)
    assert report.elapsed == pytest.approx(DEADLINE, abs=LATE)


@pytest.mark.parametrize("host", ["refusing_url", "black_hole_url"])
def test_a_host_that_takes_no_connection(host: str, request: pytest.FixtureRequest) -> None:
    """Refused, or neither refused nor taken: not sent."""

    async def main() -> None:
        async with tireless(request.getfixturevalue(host)) as htx:
            await check_not_sent(htx)

    run(main())


async def name_not_found() -> None:
    raise OSError(socket.EAI_NONAME, "Name or service not known")


async def look_up_breaks() -> None:
    raise RuntimeError("cache is corrupt")


@pytest.mark.parametrize("act", [name_not_found, look_up_hangs, look_up_breaks])
def test_a_name_that_is_never_found(act: Callable[[], Any]) -> None:
    """The resolver says no, says nothing, or breaks: not sent."""

    async def main() -> None:
        async with (
            resolving(Resolver(1, act)) as http,
            tireless("https://api.example.test", http=http) as htx,
        ):
            await check_not_sent(htx)

    run(main())


async def reads_a_piece(connection: Connection) -> None:
    await connection.receive()


async def answers_in_the_clear(connection: Connection) -> None:
    await connection.receive()
    await connection.send(OK)


TLS_FAULTS: dict[str, tuple[Script, Callable[[], ssl.SSLContext | None], bool]] = {
    "unknown authority": (answers(OK), shared_server_tls, False),
    "wrong host": (answers(OK), lambda: server_tls("127.0.0.2", "localhost"), True),
    "expired": (answers(OK), lambda: server_tls(expired=True), True),
    "never answers": (reads_a_piece, lambda: None, True),
    "never reads": (deaf, lambda: None, True),
    "answers in the clear": (answers_in_the_clear, lambda: None, True),
    "reset on accept": (resets, lambda: None, True),
}


@pytest.mark.parametrize("name", TLS_FAULTS)
def test_tls_that_cannot_be_agreed_on(name: str) -> None:
    """Whatever is wrong with the peer's TLS: not sent, and no request was seen."""
    script, context, is_trusted = TLS_FAULTS[name]

    async def main() -> None:
        trusted = client_tls() if is_trusted else ssl.create_default_context()
        async with FaultServer(script, tls=context()) as server:
            url = server.url.replace("http:", "https:")
            async with tireless(url, ssl=trusted) as htx:
                await check_not_sent(htx)
            assert server.requests == []

    run(main())


# --- the request may have arrived, and no reply can be believed ----------------------------------


LOST: dict[str, Script] = {
    "reset on the first bytes": resets_on_sight,
    "reset after the request": resets_after_request,
    "closed after the request": closes_after_request,
    "silence": silent,
    "nothing is read": deaf,
    "one byte a second": drips(OK, 1.0),
    "one chunk a second": drips(CHUNKED + b"1\r\n{\r\n" * 500, 1.0),
    "100 Continue a second": goes_on_and_on,
    "half a head": sends_then_closes(OK[:20]),
    "no body": sends_then_closes(OK.removesuffix(OK_BODY)),
    "shorter than promised, closed": sends_then_closes(OK[:-1]),
    "shorter than promised, reset": sends_and_resets(OK[:-1]),
    "shorter than promised, open": sends_and_waits(OK[:-1]),
    "longer than promised": answers(reply(OK_BODY, Content_Length="20")),
    "chunks without an end": sends_then_closes(CHUNKED + b"2\r\n{}\r\n"),
    "chunk size": sends_and_waits(CHUNKED + b"not a size\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than its size": sends_and_waits(CHUNKED + b"2\r\n{}XX\r\n0\r\n\r\n"),
    "garbage": sends_and_waits(b"\x00\xff\x13\r\n\r\n" * 50),
    "garbage, closed": sends_then_closes(b"\x00\xff\x13garbage, and no end of line"),
    "not HTTP": sends_and_waits(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "two lengths": sends_and_waits(reply(OK_BODY, content_length="3")),
    "20 KB header": sends_and_waits(reply(OK_BODY, X_Long="x" * 20_000)),
    "gzip cut short": answers(reply(gzipped(OK_BODY)[:-1], Content_Encoding="gzip")),
    "no gzip": answers(reply(OK_BODY, Content_Encoding="gzip")),
    "a coding not asked for": answers(reply(OK_BODY, Content_Encoding="br")),
}


LOST_OVER_TLS = [
    "reset after the request",
    "closed after the request",
    "silence",
    "nothing is read",
    "one byte a second",
    "shorter than promised, closed",
    "shorter than promised, reset",
    "garbage",
]


@pytest.mark.parametrize(
    ("name", "tls"), [*((name, False) for name in LOST), *((name, True) for name in LOST_OVER_TLS)]
)
def test_a_reply_that_is_lost(name: str, tls: bool) -> None:
    """However the connection fails once the request is on it: unknown."""

    async def main() -> None:
        async with (
            FaultServer(LOST[name], tls=shared_server_tls() if tls else None) as server,
            tireless(server.url, ssl=client_tls() if tls else None) as htx,
        ):
            await check_unknown(htx, server)

    run(main())


@SCHEMES
@pytest.mark.parametrize("end", [closes_after_request, resets_on_sight, resets_after_request, deaf])
def test_a_kept_connection_that_is_gone(end: Script, tls: bool) -> None:
    """The race for a kept connection, or a half-open one: unknown, and asked no more often than
    the report tells."""

    async def main() -> None:
        scripts = (kept_alive_then(end), end)
        async with (
            FaultServer(*scripts, tls=shared_server_tls() if tls else None) as server,
            tireless(server.url, ssl=client_tls() if tls else None) as htx,
        ):
            first = await told(htx)
            assert first.successes == ("1", "2")
            server.requests.clear()
            await check_unknown(htx, server)

    run(main())


@pytest.mark.parametrize("end", [closes_after_request, resets_on_sight, silent])
def test_an_unknown_outcome_is_not_asked_about_against_the_callers_will(end: Script) -> None:
    """With `repeat_unknown=False` a fault costs exactly one request, over a kept connection too."""

    async def main() -> None:
        async with FaultServer(kept_alive_then(end), answers(OK)) as server:
            async with tireless(server.url, retry=RetryPolicy(repeat_unknown=False)) as htx:
                await told(htx)
                report = await told(htx)
            assert report.outcome is Outcome.UNKNOWN
            assert len(report.attempts) == 1
            assert len(server.connections) == 1

    run(main())


def test_a_reset_on_accept() -> None:
    """Reset before anything could be read: each attempt says whether bytes left, and the outcome
    is no better than the worst of them."""

    async def main() -> None:
        async with FaultServer(resets) as server, tireless(server.url) as htx:
            report = await told(htx)
        verdicts = {attempt.verdict for attempt in report.attempts}
        assert verdicts <= {Verdict.UNKNOWN, Verdict.NOT_SENT}
        is_unknown = Verdict.UNKNOWN in verdicts
        assert report.outcome is (Outcome.UNKNOWN if is_unknown else Outcome.NOT_SENT)
        assert all(one.sent is (one.verdict is Verdict.UNKNOWN) for one in report.attempts)

    run(main())


@SCHEMES
@pytest.mark.parametrize("is_stray_late", [False, True])
def test_a_reply_longer_by_a_whole_reply(is_stray_late: bool, tls: bool) -> None:
    """A second reply that nobody asked for is never the answer to the next call."""
    stray = OK.replace(b'"1,2"', b'"8,9"')

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK if is_stray_late else OK + stray)
        if is_stray_late:
            await asyncio.sleep(1.0)
            await connection.send(stray)
        await connection.request()
        await connection.send(OK)

    async def main() -> None:
        context = shared_server_tls() if tls else None
        async with (
            FaultServer(script, answers(OK), tls=context) as server,
            tireless(server.url, ssl=client_tls() if tls else None) as htx,
        ):
            for _ in range(2):
                assert (await told(htx)).successes == ("1", "2")
                await asyncio.sleep(2.0)

    run(main())
