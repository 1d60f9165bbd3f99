"""Keys, signatures and signed URLs stay out of everything that a caller can see.

Each test plants canaries, lets a call end in one way, and searches what came out: the exception
with all that hangs on it, the locals of every frame in its traceback, ours and any library's, as
reporters would show them, the report, pickles, log records in debug mode, warnings, and what was
printed.
"""

import asyncio
import gc
import itertools
import logging
import pickle
import re
import secrets
import socket
import time
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

import aiohttp
import pytest

from htx_async import (
    AccountMigrated,
    AuthenticationFailed,
    CancelRefused,
    CancelReport,
    Credentials,
    EndpointRetired,
    HtxSession,
    InvalidRequest,
    NotSent,
    OutcomeUnknown,
    PartialCancel,
    RateLimited,
    RetryPolicy,
    SessionClosed,
    TokenBucket,
    Unavailable,
)
from htx_async.exchange.messages import Request
from htx_async.exchange.signing import sign
from tests.support.fault_server import (
    OK,
    Arrived,
    Connection,
    FaultServer,
    Script,
    answers,
    as_json,
    closes_after_request,
    echoes,
    reply,
    resets,
    resets_after_request,
    run_on,
    sends_then_closes,
    shared_server_tls,
    silent,
)
from tests.support.leak_search import NOON, PATH, Found, Stage, Texts, error, in_exception

pytestmark = pytest.mark.slow

PLAIN = re.compile(r"[0-9A-Za-z]{43}=")
SPECIAL = re.compile(r"(?=.*\+)(?=.*/).*=")


# --- the search ----------------------------------------------------------------------------------


def in_record(record: logging.LogRecord) -> Texts:
    """Everything that a log record holds."""
    where = f"log of {record.name}"
    yield f"{where}: message", record.getMessage()
    yield f"{where}: args", repr(record.args)
    yield f"{where}: exc_text", str(record.exc_text)
    yield f"{where}: record", repr(vars(record))
    yield f"{where}: formatted", logging.Formatter().format(record)
    if record.exc_info and record.exc_info[1] is not None:
        yield from in_exception(record.exc_info[1], where)


Scenario = Callable[[Stage], Awaitable[None]]


@pytest.fixture(autouse=True, scope="module")
def little_garbage() -> None:
    """What other modules left is not collected over and over again. It stays frozen: thawed, all
    that the suite is made of would be looked at by each later collection, too."""
    gc.collect()
    gc.freeze()


def play(stage: Stage, scenario: Scenario, caplog: pytest.LogCaptureFixture) -> Found:
    """Run `scenario` with everything that talks switched on, and say what was found."""
    caplog.set_level(logging.DEBUG)
    caplog.clear()

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        await scenario(stage)
        gc.collect()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run_on("asyncio", main(), debug=True)
        gc.collect()
    for record in caplog.records:
        stage.texts += in_record(record)
    stage.texts += [("warning", f"{one.message} {one!r}") for one in warned]
    assert caplog.records
    return stage.found()


# --- endings -------------------------------------------------------------------------------------


def ends(script: Script, tls: bool = False, **settings: Any) -> Scenario:
    """A call to a server with this script."""

    async def scenario(stage: Stage) -> None:
        async with (
            stage.server(script, tls=shared_server_tls() if tls else None) as server,
            stage.session(server.url, **settings) as htx,
        ):
            await stage.call(htx, "BTC-USDT", "buy", "close")

    return scenario


def spring_error(echo: str) -> bytes:
    """The shape of an unknown path."""
    return as_json({"status": 404, "error": f"No message for {echo}", "path": echo}, 404)


def rejected_orders(echo: str) -> bytes:
    """An accepted command with orders refused one by one."""
    rows = [{"order_id": "1", "err_code": code, "err_msg": echo} for code in (1000, 1063)]
    return as_json({"status": "ok", "data": {"errors": rows, "successes": "2"}, "ts": 1})


ECHOED: dict[str, tuple[type[BaseException], Callable[[str], bytes]]] = {
    "refused": (CancelRefused, error(1067)),
    "refused with 400": (CancelRefused, error(1067, 400)),
    "authentication": (AuthenticationFailed, error(403)),
    "migrated": (AccountMigrated, error(4002)),
    "retired": (EndpointRetired, error(10000)),
    "kebab": (
        CancelRefused,
        lambda echo: as_json({"status": "error", "err-code": "no-such", "err-msg": echo}),
    ),
    "v5": (CancelRefused, lambda echo: as_json({"code": 1067, "message": echo})),
    "spring": (EndpointRetired, spring_error),
    "429": (RateLimited, error(1032, 429)),
    "rate limited": (RateLimited, error(1032)),
    "partial": (PartialCancel, rejected_orders),
    "ambiguous": (OutcomeUnknown, error(1004)),
    "unavailable": (Unavailable, error(1056)),
    "502": (OutcomeUnknown, lambda echo: reply(f"<h1>{echo}</h1>".encode(), 502)),
    "html": (OutcomeUnknown, lambda echo: reply(f"<a href='{echo}'>".encode())),
    "not json": (OutcomeUnknown, lambda echo: reply(b'{"status": "' + echo.encode())),
    "odd code": (OutcomeUnknown, lambda echo: error(echo)("no")),
    "status line": (OutcomeUnknown, lambda echo: reply(b"", f"500 {echo}")),
    "location": (OutcomeUnknown, lambda echo: reply(b"", 302, Location=f"http://127.0.0.1/{echo}")),
    "cookie": (OutcomeUnknown, lambda echo: reply(b"", Set_Cookie=f"a={echo}; Path={echo}")),
    "header": (OutcomeUnknown, lambda echo: reply(b"", X_Url=echo, Content_Type=echo, Date=echo)),
    "coding": (OutcomeUnknown, lambda echo: reply(b"{}", Content_Encoding=echo)),
    "retry after": (RateLimited, lambda echo: reply(b"", 429, Retry_After=echo, Date=echo)),
    "garbage": (OutcomeUnknown, lambda echo: f"{echo}\r\n\r\n".encode()),
    "bad header": (OutcomeUnknown, lambda echo: f"HTTP/1.1 200 OK\r\nX Y{echo}\r\n\r\n".encode()),
    "long header": (OutcomeUnknown, lambda echo: reply(b"", X_Url=echo * 100)),
    "bad length": (OutcomeUnknown, lambda echo: reply(b"", Content_Length=echo)),
    "bad chunk": (
        OutcomeUnknown,
        lambda echo: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{echo}\r\n".encode(),
    ),
}


# These are asked again until the deadline, which leaves a busy machine time for one answer.
PATIENT = RetryPolicy(base=30.0, cap=30.0, random=lambda: 1.0)
UNTIL: dict[type[BaseException], dict[str, Any]] = {
    RateLimited: {"deadline": 1.5},
    Unavailable: {"deadline": 1.5, "retry": PATIENT},
}


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("kind", ECHOED)
def test_replies_that_repeat_the_signed_url(
    kind: str, callers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever a reply puts the whole signed URL, it goes no further."""
    expected, made = ECHOED[kind]
    stage = Stage(callers=callers)
    script = echoes(lambda request: made(f"http://127.0.0.1{request.target}"))
    found = play(stage, ends(script, **UNTIL.get(expected, {})), caplog)
    assert type(stage.outcome) is expected
    assert found == set()


def lower_case(text: str) -> str:
    """The same text with its percent-escapes in lower case."""
    return re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), text)


FORMS: dict[str, Callable[[str], str]] = {
    "as sent": str,
    "decoded": unquote,
    "decoded as a form": unquote_plus,
    "form of the decoded": lambda query: unquote_plus(unquote(query)),
    "lower-case escapes": lower_case,
    "quoted twice": lambda query: quote(query, safe=""),
    "quoted twice in lower case": lambda query: lower_case(quote(query, safe="")),
    "padding dropped": lambda query: query.removesuffix("%3D"),
    "padding dropped, decoded": lambda query: unquote(query).rstrip("="),
    "decoded but for the padding": lambda query: unquote(query.removesuffix("%3D")) + "%3D",
    "in html": lambda query: query.replace("&", "&amp;"),
    "cut at 300": lambda query: "x" * (300 - len(query) + 3) + query,
    "many times": lambda query: f"{query} " * 50,
    "with control characters": lambda query: f"\x1b[31m{query}\x00",
}


@pytest.mark.parametrize("shape", ["refused", "partial"])
@pytest.mark.parametrize("signature", [PLAIN, SPECIAL], ids=["plain", "special"])
@pytest.mark.parametrize("form", FORMS)
def test_echoes_in_other_words(
    form: str, signature: re.Pattern[str], shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The query is recognised however the exchange, or what stands before it, rewrote it."""
    expected, made = ECHOED[shape]
    stage = Stage()
    stage.signature = signature
    found = play(stage, ends(echoes(lambda request: made(FORMS[form](request.query)))), caplog)
    assert type(stage.outcome) is expected
    assert found == set()


@pytest.mark.parametrize("shape", ["refused", "partial"])
def test_an_access_key_that_needs_escapes(shape: str, caplog: pytest.LogCaptureFixture) -> None:
    """An access key is recognised as it travels, too."""
    expected, made = ECHOED[shape]
    stage = Stage(f"canary/+{secrets.token_hex(16)}= /access")
    found = play(stage, ends(echoes(lambda request: made(request.query))), caplog)
    assert type(stage.outcome) is expected
    assert found == set()


def data_with(successes: str, *failed: str, code: int | str = 1063) -> bytes:
    """An accepted command about these ids."""
    rows = [{"order_id": one, "err_code": code, "err_msg": ""} for one in failed]
    return as_json({"status": "ok", "data": {"errors": rows, "successes": successes}, "ts": 1})


FIELDS: dict[str, Callable[[str], bytes]] = {
    "err-code": lambda key: as_json({"status": "error", "err-code": key, "err-msg": ""}),
    "err_code": lambda key: as_json({"status": "error", "err_code": key, "err_msg": ""}),
    "code": lambda key: as_json({"code": key, "message": ""}),
    "err_code of an order": lambda key: data_with("1", "2", code=key),
    "successes": lambda key: data_with(f"1,{key}"),
    "order_id": lambda key: data_with("1", key),
}


@pytest.mark.parametrize("field", FIELDS)
def test_codes_and_ids_that_repeat_the_access_key(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A code or an order id that is the access key is not passed on as one."""
    stage = Stage()

    def made(request: Arrived) -> bytes:
        return FIELDS[field](request.query.partition("AccessKeyId=")[2].partition("&")[0])

    assert play(stage, ends(echoes(made)), caplog) == set()
    assert stage.outcome is not None


async def resets_in_the_middle(connection: Connection) -> None:
    """Send half a reply and reset."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
    await asyncio.sleep(0)
    connection.reset()


LOST: dict[str, Script] = {
    "silence": silent,
    "reset": resets_after_request,
    "reset in the middle": resets_in_the_middle,
    "closed": closes_after_request,
    "cut short": sends_then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
    "garbage": answers(b"\x00\xff not HTTP\r\n\r\n"),
    "too large": answers(reply(bytes(300_000))),
    "not decodable": answers(reply(b"{}", Content_Encoding="gzip")),
    "empty": answers(reply(b"")),
}


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("kind", LOST)
def test_lost_answers_show_nothing_of_the_request(
    kind: str, tls: bool, callers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever became of the answer, the outcome is unknown and silent about the request."""
    stage = Stage(callers=callers)
    brief = {"attempt_timeout": 0.1} if kind == "silence" else {}
    found = play(stage, ends(LOST[kind], tls, **brief), caplog)
    assert type(stage.outcome) is OutcomeUnknown
    assert found == set()


async def cleared(stage: Stage) -> None:
    await ends(answers(OK))(stage)
    assert isinstance(stage.outcome, CancelReport)


async def cleared_over_tls(stage: Stage) -> None:
    await ends(answers(OK), tls=True)(stage)
    assert isinstance(stage.outcome, CancelReport)


async def reset_on_accept(stage: Stage) -> None:
    await ends(resets, deadline=0.1)(stage)
    assert type(stage.outcome) in (OutcomeUnknown, NotSent)


async def kept_connection_ends(stage: Stage) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        connection.reset()

    async with stage.server(script) as server, stage.session(server.url) as htx:
        await stage.call(htx)
        await stage.call(htx)
    assert type(stage.outcome) is OutcomeUnknown


async def repeated_until_unknown(stage: Stage) -> None:
    await ends(resets_after_request, retry=RetryPolicy(attempts=3, base=0.001))(stage)
    assert type(stage.outcome) is OutcomeUnknown


async def refused_connection(stage: Stage) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with stage.session(f"http://127.0.0.1:{port}", deadline=0.1) as htx:
            await stage.call(htx)
    assert type(stage.outcome) is NotSent


async def untrusted_certificate(stage: Stage) -> None:
    async with (
        stage.server(answers(OK), tls=shared_server_tls()) as server,
        stage.session(server.url, ssl=None, deadline=0.2) as htx,
    ):
        await stage.call(htx)
    assert type(stage.outcome) is NotSent


async def tls_never_agreed_on(stage: Stage) -> None:
    async def reads(connection: Connection) -> None:
        await connection.receive()

    async with FaultServer(reads) as server:
        url = server.url.replace("http:", "https:")
        async with stage.session(url, deadline=0.2) as htx:
            await stage.call(htx)
    assert type(stage.outcome) is NotSent


async def invalid_arguments(stage: Stage) -> None:
    async with stage.session("http://127.0.0.1:1") as htx:
        for arguments in (("",), ("BTC USDT",), ("BTC-USDT", ""), ("BTC-USDT", "buy", "both")):
            await stage.call(htx, *arguments)
            assert type(stage.outcome) is InvalidRequest
        for deadline in (0, -1, float("nan"), "1"):
            await stage.call(htx, deadline=deadline)
            assert type(stage.outcome) is InvalidRequest


async def invalid_settings(stage: Stage) -> None:
    for settings in (
        {"base_urls": "http://example.com"},
        {"base_urls": ()},
        {"ssl": 1},
        {"limiter": 1},
        {"retry": 1},
        {"deadline": 0},
        {"account": ""},
    ):
        with pytest.raises(InvalidRequest) as caught:
            HtxSession(stage.credentials, **settings)
        stage.keep(caught.value)


async def invalid_keys(stage: Stage) -> None:
    for keys in (
        (f"{stage.access_key}\n", stage.secret_key),
        (stage.access_key, f" {stage.secret_key}"),
        (stage.access_key, f"{stage.secret_key}\x00"),
        (stage.access_key.encode(), stage.secret_key),
        (stage.access_key, ""),
    ):
        with pytest.raises(InvalidRequest) as caught:
            Credentials(*keys)
        stage.keep(caught.value)


async def closed_session(stage: Stage) -> None:
    async with stage.session("http://127.0.0.1:1") as htx:
        await htx.aclose()
        await stage.call(htx)
    assert type(stage.outcome) is SessionClosed


async def closed_callers_session(stage: Stage) -> None:
    http = aiohttp.ClientSession()
    await http.close()
    async with stage.session("http://127.0.0.1:1", http=http) as htx:
        await stage.call(htx)
    assert type(stage.outcome) is SessionClosed


async def queued(limiter: TokenBucket) -> None:
    """Let the loop turn until somebody waits for a token, which takes no time."""
    for _ in range(100):
        await asyncio.sleep(0)
    assert limiter.waiting(PATH) == 1


async def cancelled_on_the_wire(stage: Stage) -> None:
    for tls in (None, shared_server_tls()):
        async with (
            stage.server(silent, tls=tls) as server,
            stage.session(server.url, attempt_timeout=60, deadline=60) as htx,
        ):
            task = asyncio.create_task(stage.call(htx))
            await server.arrived.wait()
            stage.texts.append(("tasks", repr(asyncio.all_tasks())))
            task.cancel()
            await task
        assert type(stage.outcome) is asyncio.CancelledError


async def cancelled_in_the_queue(stage: Stage) -> None:
    async with stage.server(answers(OK)) as server:
        limiter = TokenBucket(1, 60.0)
        async with stage.session(server.url, limiter=limiter, deadline=90) as htx:
            await stage.call(htx)
            task = asyncio.create_task(stage.call(htx))
            await queued(limiter)
            task.cancel()
            await task
    assert type(stage.outcome) is asyncio.CancelledError


async def deadline_on_the_wire(stage: Stage) -> None:
    await ends(silent, attempt_timeout=60.0, deadline=0.1)(stage)
    assert type(stage.outcome) is OutcomeUnknown


async def deadline_in_the_queue(stage: Stage) -> None:
    async with (
        stage.server(answers(OK)) as server,
        stage.session(server.url, limiter=TokenBucket(1, 60.0)) as htx,
    ):
        await stage.call(htx)
        await stage.call(htx, deadline=0.1)
    assert type(stage.outcome) is NotSent


async def closed_on_the_wire(stage: Stage) -> None:
    async with (
        stage.server(silent) as server,
        stage.session(server.url, attempt_timeout=60, deadline=60) as htx,
    ):
        task = asyncio.create_task(stage.call(htx))
        await server.arrived.wait()
        await htx.aclose()
        await task
    assert type(stage.outcome) is OutcomeUnknown


async def closed_in_the_queue(stage: Stage) -> None:
    async with stage.server(answers(OK)) as server:
        limiter = TokenBucket(1, 60.0)
        async with stage.session(server.url, limiter=limiter, deadline=90) as htx:
            await stage.call(htx)
            task = asyncio.create_task(stage.call(htx))
            await queued(limiter)
            await htx.aclose()
            await task
    assert type(stage.outcome) is NotSent


async def a_broken_wall_clock(stage: Stage) -> None:
    for given in (None, "noon", 1e300, float("nan")):
        # It is sound when it is given.
        moments = itertools.chain([time.time()], itertools.repeat(given))
        settings: dict[str, Any] = {"now": partial(next, moments), "deadline": 0.1}
        async with stage.session("http://127.0.0.1:1", **settings) as htx:
            await stage.call(htx)
        assert isinstance(stage.outcome, Exception)


async def a_blocked_loop(stage: Stage) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send_now(OK)
        time.sleep(0.2)  # noqa: ASYNC251 - debug mode reports it, which is the subject

    await ends(script, attempt_timeout=0.1)(stage)
    assert isinstance(stage.outcome, CancelReport)


async def maintenance(stage: Stage) -> None:
    await ends(answers(as_json({"status": "maintain"})), **UNTIL[Unavailable])(stage)
    assert type(stage.outcome) is Unavailable


OTHERS: list[Scenario] = [
    cleared,
    cleared_over_tls,
    reset_on_accept,
    kept_connection_ends,
    repeated_until_unknown,
    refused_connection,
    untrusted_certificate,
    tls_never_agreed_on,
    invalid_arguments,
    invalid_settings,
    invalid_keys,
    closed_session,
    closed_callers_session,
    cancelled_on_the_wire,
    cancelled_in_the_queue,
    deadline_on_the_wire,
    deadline_in_the_queue,
    closed_on_the_wire,
    closed_in_the_queue,
    a_broken_wall_clock,
    a_blocked_loop,
    maintenance,
]


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("scenario", OTHERS, ids=lambda scenario: scenario.__name__)
def test_no_other_ending_shows_a_secret(
    scenario: Scenario, callers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Clear, not sent, refused by ourselves, cancelled, late or closed: nothing secret shows."""
    assert play(Stage(callers=callers), scenario, caplog) == set()


def test_keys_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Wrong keys from variables and files are told about without being shown."""
    stage = Stage()
    file = tmp_path / "secret"
    file.write_bytes(stage.secret_key.encode() + b"\n\n")
    broken = tmp_path / "broken"
    broken.write_bytes(stage.secret_key.encode() + b"\xff")

    async def scenario(stage: Stage) -> None:
        for variables in (
            {"HTX_ACCESS_KEY": stage.access_key},
            {"HTX_ACCESS_KEY": f"{stage.access_key} ", "HTX_SECRET_KEY": stage.secret_key},
            {"HTX_ACCESS_KEY": stage.access_key, "HTX_SECRET_KEY": f" {stage.secret_key}"},
            {"HTX_ACCESS_KEY": stage.access_key, "HTX_SECRET_KEY_FILE": str(file)},
            {"HTX_ACCESS_KEY": stage.access_key, "HTX_SECRET_KEY_FILE": str(broken)},
            {
                "HTX_ACCESS_KEY": stage.access_key,
                "HTX_SECRET_KEY": stage.secret_key,
                "HTX_SECRET_KEY_FILE": str(file),
            },
        ):
            with monkeypatch.context() as patched:
                for name, value in variables.items():
                    patched.setenv(name, value)
                with pytest.raises(InvalidRequest) as caught:
                    HtxSession.from_env()
                stage.keep(caught.value)

    assert play(stage, scenario, caplog) == set()


def test_a_refused_callers_session_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """`trust_env` is refused without a word about keys."""
    stage = Stage()

    async def scenario(stage: Stage) -> None:
        async with aiohttp.ClientSession(trust_env=True) as http:
            with pytest.raises(InvalidRequest) as caught:
                HtxSession(stage.credentials, http=http)
        stage.keep(caught.value)

    assert play(stage, scenario, caplog) == set()


def test_what_is_not_pickled() -> None:
    """Credentials and signed requests refuse to be pickled, and say so without their content."""
    stage = Stage()
    request = sign(stage.credentials, Request("POST", PATH), "https://api.hbdm.com", NOON)
    secret_parts = request.url().partition("?")[2]
    for one in (stage.credentials, request):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(one)
        for text in (str(caught.value), repr(one), str(one), f"{one}"):
            assert stage.access_key not in text
            assert stage.secret_key not in text
            assert secret_parts not in text


def test_the_search_finds_what_is_planted(caplog: pytest.LogCaptureFixture) -> None:
    """A canary in a cause, a log record, a warning, a report or a pickle does not go unseen."""
    stage = Stage()

    async def scenario(stage: Stage) -> None:
        async with stage.server(closes_after_request) as server, stage.session(server.url) as htx:
            await stage.call(htx)
            request = server.requests[0]
        logging.getLogger("some.library").debug("sent %s", request.target)
        warnings.warn(f"unclosed {request.query}", ResourceWarning, stacklevel=1)
        error = LookupError("outer")
        error.__cause__ = ValueError(stage.access_key)
        error.__context__ = KeyError(stage.secret_key)
        stage.keep(error)

    found = play(stage, scenario, caplog)
    assert ("access key", "str of cause of exception") in found
    assert ("secret key", "repr of context of exception") in found
    assert ("query 0", "log of some.library: message") in found
    assert ("quoted signature 0", "warning") in found
