"""No error reporter gets a signed URL, however a call is left: each way out, with each reporter.

Sentry, structlog, loguru and rich show the locals of every frame that hangs on an exception, its
causes, contexts and members. The test that proves it also proves that they would find the URL.
"""

import asyncio
import gc
import io
import json
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from loguru import logger
from rich.console import Console
from rich.traceback import Traceback
from sentry_sdk.serializer import serialize
from sentry_sdk.utils import event_from_exception

from htx_async import HtxSession, NotSent, OutcomeUnknown, RetryPolicy
from htx_async.exchange.messages import Secret
from tests.support.command import end_all, ended, started
from tests.support.fault_server import (
    FaultServer,
    bounded,
    closes_after_request,
    reply,
    resets_after_request,
    run_on,
    sends_then_closes,
    silent,
)
from tests.support.leak_search import Stage, in_exception
from tests.support.paths import TESTS

pytestmark = [pytest.mark.slow, pytest.mark.long]

BTC = "BTC-USDT"
LIBRARIES = ("aiohttp", "yarl", "aiohappyeyeballs", "multidict")


# --- the reporters -------------------------------------------------------------------------------


def by_sentry(error: BaseException) -> str:
    """What Sentry's SDK makes of an exception with its defaults, uncut."""
    options: Any = {
        "include_local_variables": True,
        "include_source_context": True,
        "max_value_length": 1_000_000,
    }
    event, _ = event_from_exception(error, client_options=options)
    return json.dumps(serialize(dict(event), max_request_body_size="always"))


def by_structlog(error: BaseException) -> str:
    """Both of structlog's: dictionaries for machines, and a console for people."""
    entry = structlog.tracebacks.ExceptionDictTransformer(
        show_locals=True, locals_max_string=1_000_000, locals_max_length=1_000, max_frames=500
    )(_info(error))
    default = structlog.processors.dict_tracebacks(None, "error", {"exc_info": _info(error)})
    formatter = structlog.dev.RichTracebackFormatter(
        show_locals=True, locals_max_string=1_000_000, width=1_000, color_system=None
    )
    console = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=formatter)
    event = {"event": "the call ended", "exc_info": _info(error)}
    return f"{entry!r} {default!r} {console(None, 'error', event)}"


def by_loguru(error: BaseException) -> str:
    """loguru with everything that its diagnosis shows."""
    written: list[str] = []
    handler = logger.add(
        written.append, format="{message}", backtrace=True, diagnose=True, catch=False
    )
    try:
        logger.opt(exception=error).error("the call ended")
    finally:
        logger.remove(handler)
    return "".join(written)


def by_rich(error: BaseException) -> str:
    """rich's traceback, with locals."""
    console = Console(file=io.StringIO(), width=1_000)
    console.print(
        Traceback.from_exception(
            *_info(error), show_locals=True, locals_max_string=1_000_000, max_frames=500
        )
    )
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


REPORTERS: dict[str, Callable[[BaseException], str]] = {
    "sentry": by_sentry,
    "structlog": by_structlog,
    "loguru": by_loguru,
    "rich": by_rich,
}


def _info(error: BaseException) -> Any:
    return (type(error), error, error.__traceback__)


@pytest.fixture(autouse=True)
def quiet() -> None:
    """loguru writes to stderr by itself until it is told otherwise."""
    with suppress(ValueError):
        logger.remove(0)


# --- the ways out --------------------------------------------------------------------------------


class Play(Stage):
    """One call's surroundings, in the middle of which it is left."""

    ended: BaseException
    tasks: list["asyncio.Task[None]"]

    async def left(
        self, way: Callable[[FaultServer, HtxSession], Awaitable[BaseException]]
    ) -> None:
        """Keep what comes out of a call to a server that never answers."""
        async with (
            self.server(silent) as server,
            self.session(server.url, attempt_timeout=60, deadline=60) as htx,
        ):
            self.ended = await way(server, htx)


async def out_of(work: Awaitable[object]) -> BaseException:
    """The exception that ends it."""
    try:
        await work
    except BaseException as error:
        return error
    raise AssertionError("it ended well")


async def once_on_the_wire(server: FaultServer, act: Callable[[], object]) -> None:
    await server.arrived.wait()
    act()


async def by_timeout(server: FaultServer, htx: HtxSession) -> BaseException:
    async def call() -> None:
        async with asyncio.timeout(None) as limit:
            now = asyncio.get_running_loop().time
            expires = asyncio.create_task(once_on_the_wire(server, lambda: limit.reschedule(now())))
            try:
                await htx.cancel_all_trailing(BTC)
            finally:
                expires.cancel()

    return await out_of(call())


async def by_wait_for(server: FaultServer, htx: HtxSession) -> BaseException:
    call = asyncio.create_task(htx.cancel_all_trailing(BTC))
    await server.arrived.wait()
    return await out_of(asyncio.wait_for(call, 0.001))


async def by_cancel(server: FaultServer, htx: HtxSession) -> BaseException:
    call = asyncio.create_task(htx.cancel_all_trailing(BTC))
    await server.arrived.wait()
    call.cancel("enough")
    error = await out_of(call)
    assert error.args == ("enough",)
    return error


async def by_cancel_in_a_handler(server: FaultServer, htx: HtxSession) -> BaseException:
    async def call() -> None:
        try:
            raise LookupError("the caller's own")
        except LookupError:
            await htx.cancel_all_trailing(BTC)

    task = asyncio.create_task(call())
    await server.arrived.wait()
    task.cancel()
    return await out_of(task)


async def by_a_sibling(server: FaultServer, htx: HtxSession) -> BaseException:
    async def fails() -> None:
        await server.arrived.wait()
        raise RuntimeError("the sibling failed")

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())
            await htx.cancel_all_trailing(BTC)

    return await out_of(group())


async def by_a_guards_block(server: FaultServer, htx: HtxSession) -> BaseException:
    async def block() -> None:
        async with htx.cancel_on_exit([BTC], deadline=0.1):
            await htx.cancel_all_trailing(BTC)

    task = asyncio.create_task(block())
    await server.arrived.wait()
    task.cancel()
    return await out_of(task)


async def by_a_mass_cancel(server: FaultServer, htx: HtxSession) -> BaseException:
    task = asyncio.create_task(htx.mass_cancel_trailing([BTC, "ETH-USDT"]))
    await server.arrived.wait()
    task.cancel()
    return await out_of(task)


async def by_a_read(server: FaultServer, htx: HtxSession) -> BaseException:
    task = asyncio.create_task(htx.open_trailing(BTC))
    await server.arrived.wait()
    task.cancel()
    return await out_of(task)


async def by_aclose(server: FaultServer, htx: HtxSession) -> BaseException:
    call = asyncio.create_task(htx.cancel_all_trailing(BTC))
    await server.arrived.wait()
    await htx.aclose()
    error = await out_of(call)
    assert isinstance(error, OutcomeUnknown)
    return error


async def by_deadline(server: FaultServer, htx: HtxSession) -> BaseException:
    return await out_of(htx.cancel_all_trailing(BTC, deadline=0.1))


async def by_close(server: FaultServer, htx: HtxSession) -> BaseException:
    """GeneratorExit: a coroutine that is dropped, or left by a loop that ends."""
    kept: list[BaseException] = []

    async def call() -> None:
        try:
            await htx.cancel_all_trailing(BTC)
        except BaseException as error:
            kept.append(error)
            raise

    coroutine = call()
    task = asyncio.create_task(coroutine)
    await server.arrived.wait()
    await asyncio.sleep(0)
    coroutine.close()
    task.cancel()
    await asyncio.wait([task])
    assert isinstance(kept[0], GeneratorExit)
    return kept[0]


WAYS = [
    by_timeout,
    by_wait_for,
    by_cancel,
    by_cancel_in_a_handler,
    by_a_sibling,
    by_a_guards_block,
    by_a_mass_cancel,
    by_a_read,
    by_aclose,
    by_deadline,
    by_close,
]


def assert_silent(play: Play, *reporters: str) -> None:
    """Neither the reporters nor the search through everything find anything, and no frame of a
    library that had the URL is left to find it in."""
    errors = [play.ended]
    for error in errors:
        for linked in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
            if linked is not None and linked not in errors:
                errors.append(linked)
        files = {frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)}
        left = {file for file in files for name in LIBRARIES if f"/site-packages/{name}/" in file}
        assert left == set()
    play.texts += in_exception(play.ended)
    play.texts += [(name, REPORTERS[name](play.ended)) for name in reporters or REPORTERS]
    assert any(server.requests for server in play.servers)
    assert play.found() == set()


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_call_that_is_left_on_the_wire(
    way: Callable[[FaultServer, HtxSession], Awaitable[BaseException]], callers: bool
) -> None:
    """Interrupted in whatever way, what comes out has no frame of aiohttp's on it."""
    play = Play(callers=callers)
    run_on("asyncio", play.left(way))
    assert_silent(play)


@pytest.mark.parametrize("reporter", REPORTERS)
def test_the_reporters_would_find_it(reporter: str) -> None:
    """The same time-out of a bare aiohttp session: each of them sends the whole query."""

    async def main() -> tuple[BaseException, str]:
        async with FaultServer(silent) as server, aiohttp.ClientSession() as http:
            call = asyncio.create_task(out_of(http.post(f"{server.url}/path?Signature=canary")))
            await server.arrived.wait()
            call.cancel()
            return await call, server.requests[0].query

    error, query = run_on("asyncio", main())
    assert query == "Signature=canary"
    assert query in REPORTERS[reporter](error)


# --- what a caller's session raises --------------------------------------------------------------


class Connector(aiohttp.TCPConnector):
    """A caller's connector that does its worst with what it is asked for, URL included."""

    def __init__(self, act: Callable[[str], BaseException], *, waits: bool = False) -> None:
        super().__init__()
        self._act = act
        self._waits = waits
        self.asked = asyncio.Event()

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **settings: Any) -> Any:
        url = str(req.url)
        self.asked.set()
        try:
            if self._waits:
                await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            cancelled.add_note(url)
            raise self._act(url) from cancelled
        try:
            raise LookupError(url)
        except LookupError as failure:
            worst = self._act(url)
            worst.add_note(url)
            raise worst from failure


def keyboard(url: str) -> BaseException:
    return KeyboardInterrupt()


def system_exit(url: str) -> BaseException:
    return SystemExit(3)


def group(url: str) -> BaseException:
    return BaseExceptionGroup("several", [ValueError(url), KeyboardInterrupt()])


def cancellation(url: str) -> BaseException:
    return asyncio.CancelledError(url)


FOREIGN: dict[str, tuple[Callable[[str], BaseException], type[BaseException]]] = {
    "KeyboardInterrupt": (keyboard, KeyboardInterrupt),
    "SystemExit": (system_exit, SystemExit),
    "a group": (group, BaseExceptionGroup),
    "a cancellation of nobody's": (cancellation, NotSent),
    "ValueError": (ValueError, NotSent),
    "aiohttp's own": (aiohttp.InvalidURL, NotSent),
    "a group of errors": (lambda url: ExceptionGroup(url, [ValueError(url)]), NotSent),
}


def query_of(htx: HtxSession) -> list[str]:
    """The queries that were signed, which no server has seen."""
    assert htx._opening.resources is not None
    signer = htx._opening.resources.signer
    return [one.url().partition("?")[2] for one in signer._signed.values()]


@pytest.mark.parametrize("interrupted", [False, True], ids=["by itself", "when cancelled"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_a_callers_session_raises(kind: str, interrupted: bool) -> None:
    """Whatever it is and whenever it comes: ours comes out, or what ends the program, bare; what
    does not leaves a cancelled call cancelled."""
    act, expected = FOREIGN[kind]
    play = Play()
    queries: list[str] = []

    async def main() -> None:
        connector = Connector(act, waits=interrupted)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            play.session("http://127.0.0.1:1", http=http, deadline=0.2) as htx,
        ):
            call = out_of(htx.cancel_all_trailing(BTC))
            if interrupted:
                task = asyncio.create_task(call)
                await connector.asked.wait()
                task.cancel("enough")
                play.ended = await task
            else:
                play.ended = await call
            queries.extend(query_of(htx))

    run_on("asyncio", main())
    stays_cancelled = interrupted and expected is NotSent
    assert type(play.ended) is (asyncio.CancelledError if stays_cancelled else expected)
    if stays_cancelled:
        assert play.ended.args == ("enough",)
    texts = [text for _, text in in_exception(play.ended)]
    texts += [report(play.ended) for report in REPORTERS.values()]
    assert queries
    for query in queries:
        signature = query.rpartition("Signature=")[2].removesuffix("%3D")
        assert not [text for text in texts if signature in text]
    assert not [text for text in texts if play.access_key in text]


@pytest.mark.parametrize(
    "script",
    [
        closes_after_request,
        resets_after_request,
        sends_then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        sends_then_closes(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
        sends_then_closes(reply(b"", 302, Location="http://127.0.0.1:1/elsewhere")),
        sends_then_closes(reply(b"{}", Content_Encoding="gzip")),
    ],
    ids=["closed", "reset", "cut short", "not HTTP", "redirect", "not decodable"],
)
def test_an_answer_that_is_none(script: Any) -> None:
    """Lost, cut, odd, or sending us elsewhere: OutcomeUnknown, silent with every reporter."""
    play = Play()

    async def main() -> None:
        async with play.server(script) as server, play.session(server.url) as htx:
            play.ended = await out_of(htx.cancel_all_trailing(BTC))

    run_on("asyncio", main())
    assert type(play.ended) is OutcomeUnknown
    assert_silent(play)


def test_ctrl_c_while_a_request_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment at which query and signature lie in the signer's own frames."""
    play = Play()
    signatures: list[str] = []

    def interrupted(text: str) -> Secret:
        signatures.append(text)
        raise KeyboardInterrupt

    async def main() -> None:
        async with play.session("http://127.0.0.1:1") as htx:
            monkeypatch.setattr("htx_async.exchange.signing.Secret", interrupted)
            play.ended = await out_of(htx.cancel_all_trailing(BTC))

    run_on("asyncio", main())
    assert type(play.ended) is KeyboardInterrupt
    texts = [text for _, text in in_exception(play.ended)]
    texts += [report(play.ended) for report in REPORTERS.values()]
    for secret in (play.access_key, signatures[0].rstrip("=")):
        assert not [text for text in texts if secret in text]


# --- what nobody waits for -----------------------------------------------------------------------


class Heard(logging.Handler):
    """What a reporter that hooks the logs gets."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        if record.exc_info and record.exc_info[1] is not None:
            self.texts += [report(record.exc_info[1]) for report in REPORTERS.values()]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """asyncio's and aiohttp's logs, and what is ignored for want of somebody to tell."""
    handler = Heard()
    monkeypatch.setattr(sys, "unraisablehook", lambda args: handler.texts.append(_ignored(args)))
    handler.setLevel(logging.DEBUG)
    names = ("asyncio", "aiohttp.client", "aiohttp.internal")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    yield handler
    for name in names:
        logging.getLogger(name).removeHandler(handler)


def _ignored(args: Any) -> str:
    error = args.exc_value
    return f"{args.err_msg} {args.object!r}" + "".join(r(error) for r in REPORTERS.values())


def silently(play: Play, heard: Heard) -> None:
    gc.collect()
    play.texts += [(f"heard: {text[:80]}", text) for text in heard.texts]
    assert any(server.requests for server in play.servers)
    assert play.found() == set()


async def nobody_retrieves(play: Play) -> None:
    """A task that fails and is dropped."""
    async with play.server(closes_after_request) as server, play.session(server.url) as htx:
        task = asyncio.create_task(htx.cancel_all_trailing(BTC))
        await asyncio.wait([task])
        del task
        gc.collect()


async def left_to_the_loops_end(play: Play) -> None:
    """A task on the wire that `asyncio.run` cancels, and that fails on its way out."""
    server = await play.server(silent).__aenter__()
    htx = HtxSession(
        play.credentials, base_urls=server.url, retry=RetryPolicy(repeat_unknown=False)
    )

    async def call() -> None:
        try:
            await htx.cancel_all_trailing(BTC)
        finally:
            await htx.aclose()
            await server.__aexit__(None, None, None)
            raise RuntimeError("the strategy failed at its end")

    play.tasks.append(asyncio.create_task(call()))
    await server.arrived.wait()


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("scenario", [nobody_retrieves, left_to_the_loops_end])
def test_what_asyncio_tells_of_it(
    scenario: Callable[[Play], Coroutine[Any, Any, None]], debug: bool, heard: Heard
) -> None:
    """ "Task exception was never retrieved", errors at the loop's shutdown, slow callbacks."""
    play = Play()
    play.tasks = []

    async def main() -> None:
        if debug:
            asyncio.get_running_loop().slow_callback_duration = 0.0
        await scenario(play)

    run_on("asyncio", main(), debug=debug)
    play.tasks.clear()
    gc.collect()
    assert any("never retrieved" in text or "shutdown" in text for text in heard.texts)
    silently(play, heard)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_call_that_is_left_suspended(debug: bool, heard: Heard) -> None:
    """Its loop is closed in the middle: what is told of the task, and of the coroutine that the
    garbage collector closes, shows nothing."""
    play = Play()
    loop = asyncio.new_event_loop()
    loop.set_debug(debug)

    async def begin() -> None:
        server = await play.server(silent).__aenter__()
        htx = HtxSession(play.credentials, base_urls=server.url)
        play.texts.append(("coroutine", repr(htx.cancel_all_trailing)))
        asyncio.create_task(htx.cancel_all_trailing(BTC))  # noqa: RUF006 - dropped on purpose
        await server.arrived.wait()
        for task in asyncio.all_tasks():
            coroutine = task.get_coro()
            play.texts.append(("suspended", f"{task!r} {coroutine!r} {task.get_stack()!r}"))

    loop.run_until_complete(begin())
    loop.close()
    del loop
    gc.collect()
    assert any("destroyed" in text for text in heard.texts)
    silently(play, heard)
    # Sockets that were left open are nobody else's trouble.
    play.servers.clear()
    gc.collect()


# --- Sentry itself -------------------------------------------------------------------------------

# A process of its own: what Sentry patches, it patches for good.
_WITH_SENTRY = """
import asyncio, json, sys
import sentry_sdk
from sentry_sdk.transport import Transport
from htx_async import HtxSession

items = []

class Captured(Transport):
    def capture_envelope(self, envelope):
        items.extend(item.payload.get_bytes().decode() for item in envelope.items)

async def main(url):
    async with HtxSession.from_env(base_urls=url) as htx:
        try:
            async with asyncio.timeout(0.3):
                await htx.cancel_all_trailing("BTC-USDT")
        except TimeoutError as error:
            sentry_sdk.capture_exception(error)

sentry_sdk.init("http://key@127.0.0.1:9/1", transport=Captured)
asyncio.run(main(sys.argv[1]))
sentry_sdk.flush()
print(json.dumps(items))
"""


@bounded
async def test_sentry_with_its_defaults() -> None:
    """A time-out around a call, captured as everybody does: the event has the time-out, the
    cancellation and our frames, and nothing of the request."""
    async with FaultServer(silent) as server:
        try:
            result = await ended(await started("-c", _WITH_SENTRY, server.url))
        finally:
            end_all()
        assert (result.code, result.err) == (0, "")
        (request,) = server.requests
    (event,) = [json.loads(item) for item in json.loads(result.out)]
    kinds = [value["type"] for value in event["exception"]["values"]]
    assert kinds == ["CancelledError", "TimeoutError"]
    modules = {
        frame["module"].partition(".")[0]
        for value in event["exception"]["values"]
        for frame in value["stacktrace"]["frames"]
    }
    assert modules == {"__main__", "htx_async", "asyncio"}
    for secret in (request.query, request.query.rpartition("Signature=")[2]):
        assert secret not in result.out


def test_the_tests_own_frames_hold_nothing() -> None:
    """The search leaves them out, so they must lie where it says."""
    assert Path(__file__).is_relative_to(TESTS)
