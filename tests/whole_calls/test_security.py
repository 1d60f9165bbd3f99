"""What instruments a whole process sees no key and no signature, and what docs/security.md offers
for sessions of a caller's own keeps them from it; with the real libraries."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util import http as otel_http

from htx_async import Credentials, HtxSession, OutcomeUnknown, RetryPolicy, TokenBucket
from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.command import ACCESS, CODE, SECRET, end_all, ended, started
from tests.support.fault_server import (
    Arrived,
    FaultServer,
    as_json,
    bounded,
    echoes,
    sends_then_closes,
)
from tests.support.pages import example, execute

pytestmark = pytest.mark.slow

Call = Callable[[aiohttp.ClientSession | None], Awaitable[list[str]]]

PATH = "/linear-swap-api/v1/swap_track_cancelall"
BAD_HEADER = b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"
"""aiohttp's exception about it has the URL in its text."""


def snippet(function: str) -> str:
    """The block of docs/security.md that defines `function`."""
    return example(f"def {function}(")


def secrets(*targets: str) -> set[str]:
    """What must not be found, if these were requested."""
    found = {ACCESS, SECRET}
    for target in targets:
        signature = target.rpartition("&Signature=")[2]
        assert len(signature) > 40
        found |= {signature, unquote(signature), unquote(signature).rstrip("=")}
    return found


def leaked(text: str, targets: list[str]) -> set[str]:
    """The secrets in `text`."""
    return {secret for secret in secrets(*targets) if secret in text}


class Watched(SimulatedExchange):
    """A simulated exchange that remembers what was asked for, signatures and all."""

    def __init__(self) -> None:
        super().__init__(access_key=ACCESS, secret_key=SECRET, limit=1000)
        self.targets: list[str] = []

    def handle(self, request: Request) -> Reply:
        self.targets.append(request.target)
        return super().handle(request)


# A process of its own: what Sentry patches, it patches for good.
_WITH_SENTRY = """
import asyncio, json, sys
import aiohttp, sentry_sdk
from sentry_sdk.transport import Transport
from htx_async import CancelError, HtxSession, TokenBucket

class Captured(Transport):
    def capture_envelope(self, envelope):
        items.extend(item.payload.get_bytes().decode() for item in envelope.items)

async def call(http):
    with sentry_sdk.start_transaction(name="desk"):
        for url in urls:
            many = TokenBucket(1000)
            async with HtxSession.from_env(base_urls=url, http=http, limiter=many) as htx:
                try:
                    await htx.cancel_all_trailing("BTC-USDT", deadline=5.0)
                except CancelError as error:
                    sentry_sdk.capture_exception(error)

async def callers():
    async with aiohttp.ClientSession() as http:
        await call(http)

async def own():
    await call(None)

snippet, path, *urls = sys.argv[1:]
namespace, captured = {}, {}
exec(snippet, namespace)
for name, start in ("bare", sentry_sdk.init), ("scrubbed", namespace["start_sentry"]):
    start("http://key@127.0.0.1:9/1", transport=Captured, traces_sample_rate=1.0)
    for session in (callers, own):
        items = captured[f"{session.__name__}, {name}"] = []
        with sentry_sdk.isolation_scope() as isolation, sentry_sdk.new_scope() as current:
            isolation.clear()
            current.clear()
            asyncio.run(session())
            sentry_sdk.flush()
with open(path, "w") as file:
    json.dump(captured, file)
"""


class Reported:
    """What Sentry would have sent, by session and set-up, and what the exchange was asked."""

    def __init__(self, captured: dict[str, list[str]], targets: list[str]) -> None:
        self.captured = captured
        self.targets = targets

    def documents(self, which: str) -> list[dict[str, Any]]:
        return [json.loads(item) for item in self.captured[which]]

    def leaked(self, which: str) -> set[str]:
        return leaked("\n".join(self.captured[which]), self.targets)


@pytest.fixture(scope="module")
def sentry(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """One process with Sentry in it: a call that succeeds, and one that is refused with the signed
    URL repeated in the reply; on a caller's session and on our own; without the page's snippet
    and with it."""
    path = tmp_path_factory.mktemp("sentry") / "captured.json"

    def refusal(request: Arrived) -> bytes:
        return as_json({"status": "error", "err_code": 1067, "err_msg": request.target})

    async def main() -> list[str]:
        async with Watched() as exchange, FaultServer(echoes(refusal)) as server:
            exchange.place(CODE, "buy", "close")
            args = (snippet("start_sentry"), str(path), exchange.url, server.url)
            try:
                result = await ended(await started("-c", _WITH_SENTRY, *args))
            finally:
                end_all()
            assert (result.code, result.err) == (0, "")
            return [*exchange.targets, *(request.target for request in server.requests)]

    targets = asyncio.run(main())
    return Reported(json.loads(path.read_text()), targets)


BARE, SCRUBBED = "callers, bare", "callers, scrubbed"


def test_without_the_snippet_sentry_gets_the_signed_url(sentry: Reported) -> None:
    """On a caller's session, an error's breadcrumbs and a trace's spans have the whole query."""
    error, transaction = sentry.documents(BARE)
    for part in (error["breadcrumbs"], transaction["spans"]):
        assert "&Signature=" in json.dumps(part)
    assert ACCESS in sentry.leaked(BARE)


def test_with_the_snippet_sentry_gets_everything_but_the_query(sentry: Reported) -> None:
    """The same error and the same trace, with each request in them, hold no key or signature."""
    error, transaction = sentry.documents(SCRUBBED)
    crumbs = [crumb["data"] for crumb in error["breadcrumbs"]["values"]]
    spans = [span["data"] for span in transaction["spans"]]
    for data in (crumbs, spans):
        requests = [one for one in data if one.get("url", "").endswith(PATH)]
        assert [one["http.query"] for one in requests] == ["[signed query]"] * 2
    assert error["exception"]["values"][-1]["type"] == "CancelRefused"
    assert sentry.leaked(SCRUBBED) == set()


def test_no_frame_shows_sentry_a_secret(sentry: Reported) -> None:
    """Sentry sends the locals of all frames, opened up as far as it can: nothing is in ours."""
    error, _ = sentry.documents(BARE)
    stacks = [value["stacktrace"]["frames"] for value in error["exception"]["values"]]
    frames = [frame for stack in stacks for frame in stack if "vars" in frame]
    assert any(frame["module"].startswith("htx_async.") for frame in frames)
    assert leaked(json.dumps(stacks), sentry.targets) == set()


class Spans:
    """What an exporter of OpenTelemetry would get."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def text(self) -> str:
        return "\n".join(span.to_json() for span in self.exporter.get_finished_spans())


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    AioHttpClientInstrumentor().uninstrument()
    made.provider.shutdown()


def instrument(spans: Spans) -> None:
    """As everybody does."""
    AioHttpClientInstrumentor().instrument(tracer_provider=spans.provider)


def instrument_with_filter(spans: Spans) -> None:
    """As the page does."""
    namespace: dict[str, Any] = {}
    execute(snippet("trace_aiohttp"), namespace)
    namespace["trace_aiohttp"](tracer_provider=spans.provider)


def session(url: str, http: aiohttp.ClientSession | None) -> HtxSession:
    """A session that waits for no token and sends once."""
    keys, once = Credentials(ACCESS, SECRET), RetryPolicy(repeat_unknown=False)
    return HtxSession(keys, base_urls=url, http=http, retry=once, limiter=TokenBucket(1000))


async def clear_call(http: aiohttp.ClientSession | None) -> list[str]:
    """A call that succeeds; what was asked for."""
    async with Watched() as exchange:
        exchange.place(CODE, "buy", "close")
        async with session(exchange.url, http) as htx:
            assert (await htx.cancel_all_trailing(CODE)).successes
        return exchange.targets


async def unreadable_answer(http: aiohttp.ClientSession | None) -> list[str]:
    """A call whose answer makes aiohttp raise an exception; what was asked for."""
    async with FaultServer(sends_then_closes(BAD_HEADER)) as server:
        async with session(server.url, http) as htx:
            with pytest.raises(OutcomeUnknown):
                await htx.cancel_all_trailing(CODE)
        return [request.target for request in server.requests]


async def on_a_callers(call: Call) -> list[str]:
    """`call` on an aiohttp session of a caller's."""
    async with aiohttp.ClientSession() as http:
        return await call(http)


@pytest.mark.parametrize("call", [clear_call, unreadable_answer])
@bounded
async def test_without_a_filter_spans_hold_the_access_key(spans: Spans, call: Call) -> None:
    """On a caller's session; and the signature, where an exception repeats the URL, or where the
    instrumentation is too old to redact it."""
    instrument(spans)
    targets = await on_a_callers(call)
    found = leaked(spans.text, targets)
    assert ACCESS in found
    redacts = hasattr(otel_http, "redact_url")
    assert (len(found) > 1) is (call is unreadable_answer or not redacts)


@bounded
async def test_the_filter_takes_the_query_off_the_span(spans: Spans) -> None:
    """With the page's filter a span has the path and nothing secret."""
    instrument_with_filter(spans)
    targets = await on_a_callers(clear_call)
    assert PATH in spans.text
    assert leaked(spans.text, targets) == set()


@bounded
async def test_the_filter_does_not_reach_the_text_of_an_exception(spans: Spans) -> None:
    """Why the page leaves such sessions out: the day this fails, the filter is enough."""
    instrument_with_filter(spans)
    targets = await on_a_callers(unreadable_answer)
    assert len(leaked(spans.text, targets)) > 1


@pytest.mark.parametrize("call", [clear_call, unreadable_answer])
@bounded
async def test_a_session_that_is_left_out_makes_no_span(spans: Spans, call: Call) -> None:
    """The page's untraced session, in a process where every other one is traced."""
    instrument(spans)
    namespace: dict[str, Any] = {}
    execute(snippet("untraced_session"), namespace)
    async with namespace["untraced_session"](cookie_jar=aiohttp.DummyCookieJar()) as http:
        await call(http)
    assert spans.text == ""
    await on_a_callers(clear_call)
    assert PATH in spans.text


@pytest.mark.parametrize("start", ["bare", "scrubbed"])
def test_our_own_session_is_out_of_sentrys_reach(sentry: Reported, start: str) -> None:
    """Without any snippet the error and the trace arrive, with no request and no secret in them."""
    error, transaction = sentry.documents(f"own, {start}")
    assert error["exception"]["values"][-1]["type"] == "CancelRefused"
    assert (error["breadcrumbs"]["values"], transaction["spans"]) == ([], [])
    assert sentry.leaked(f"own, {start}") == set()


@pytest.mark.parametrize("call", [clear_call, unreadable_answer])
@bounded
async def test_our_own_session_makes_no_span(spans: Spans, call: Call) -> None:
    """An instrumentation of every session in the process does not see ours."""
    instrument(spans)
    await call(None)
    assert spans.text == ""
    await on_a_callers(clear_call)
    assert PATH in spans.text
