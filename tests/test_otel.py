"""A session's events as spans and metrics: complete, under the right parent, without secrets."""

import asyncio
import dataclasses
import importlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import htx_async.otel
from htx_async import (
    ApiGeneration,
    CancelError,
    CancelReport,
    HtxSession,
    InvalidRequest,
    LimiterMode,
    MassCancelReport,
    Outcome,
    RetryPolicy,
)
from htx_async.events import (
    CallEnded,
    CallStarted,
    EndpointPaused,
    Event,
    GenerationChanged,
    LimitChanged,
    LimiterModeChanged,
)
from htx_async.otel import OpenTelemetry
from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.virtual import run, virtual_session

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
URL = "http://127.0.0.1:1"
ACCESS_KEY = "canary-ACCESS-7f3a91"
SECRET_KEY = "canary-SECRET-0c55be"

Attributes = frozenset[tuple[str, Any]]


class Telemetry:
    """A listener, and what the providers behind it would have exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.listener = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == "htx cancel_all_trailing"]

    @property
    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        resources = [] if data is None else data.resource_metrics
        scopes = [scope for resource in resources for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> Iterator[tuple[Attributes, Any]]:
        for point in self.metrics[f"htx.client.{name}"].data.data_points:
            yield frozenset((point.attributes or {}).items()), point

    def counts(self, name: str) -> dict[Attributes, float]:
        """What a counter counted, by attributes."""
        found: dict[Attributes, float] = {}
        for attributes, point in self.points(name):
            assert isinstance(point, NumberDataPoint)
            found[attributes] = point.value
        return found

    def sums(self, name: str) -> dict[Attributes, tuple[int, Any]]:
        """How many values a histogram got and what they add up to, by attributes."""
        found: dict[Attributes, tuple[int, Any]] = {}
        for attributes, point in self.points(name):
            assert isinstance(point, HistogramDataPoint)
            found[attributes] = (point.count, pytest.approx(point.sum))
        return found


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def contracts(count: int) -> list[str]:
    return [f"C{number}-USDT" for number in range(count)]


def wall() -> float:
    """A wall clock in Unix seconds that goes with the loop's."""
    return 1_800_000_000.0 + asyncio.get_running_loop().time()


def nothing_kept(listener: OpenTelemetry) -> bool:
    return not listener._spans


async def one_call(
    telemetry: Telemetry, arm: Callable[[SimulatedExchange], object], **call: Any
) -> CancelReport:
    """The report of one call of an exchange that was armed, clear or not."""
    exchange = SimulatedExchange()
    exchange.place(BTC, "buy", "close", 2)
    arm(exchange)
    policy = RetryPolicy(random=lambda: 0.5)
    async with virtual_session(exchange, on_event=telemetry.listener, retry=policy) as htx:
        try:
            return await htx.cancel_all_trailing(BTC, **call)
        except CancelError as failure:
            return failure.report


def test_a_clear_call_is_a_span_with_one_attempt(telemetry: Telemetry) -> None:
    """Kind, names and attributes as documented; no status, since nothing is wrong."""
    report = run(one_call(telemetry, lambda exchange: None))
    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("htx cancel_all_trailing", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None
    assert attributes_of(span) == {
        "htx.contract_code": BTC,
        "htx.urgent": False,
        "htx.outcome": "cancelled",
        "htx.is_clear": True,
        "htx.successes": 2,
        "htx.errors": 0,
        "htx.triggered": 0,
        "htx.attempts": 1,
        "server.address": "127.0.0.1",
        "server.port": 1,
    }
    (event,) = span.events
    (attempt,) = report.attempts
    assert event.name == "htx attempt"
    assert dict(event.attributes or {}) == {
        "htx.attempt.number": 1,
        "htx.attempt.base_url": URL,
        "htx.attempt.verdict": "accepted",
        "htx.attempt.sent": True,
        "htx.attempt.waited": attempt.waited,
        "htx.attempt.wire": attempt.wire,
        "htx.attempt.http_status": 200,
    }
    assert nothing_kept(telemetry.listener)


def test_a_lost_answer_is_an_attempt_of_the_same_span(telemetry: Telemetry) -> None:
    """Two events: unknown, then the refusal that says nothing is left; the whole is clear."""
    run(one_call(telemetry, lambda exchange: exchange.lose_after_work()))
    (span,) = telemetry.spans
    lost, refused = [dict(event.attributes or {}) for event in span.events]
    assert lost["htx.attempt.verdict"] == "unknown"
    assert lost["htx.attempt.message"] == "the answer was lost"
    assert not {"htx.attempt.code", "htx.attempt.http_status"} & set(lost)
    assert refused["htx.attempt.verdict"] == "refused"
    assert (refused["htx.attempt.number"], refused["htx.attempt.code"]) == (2, "1051")
    assert attributes_of(span)["htx.outcome"] == "clear_after_retry"
    assert span.status.status_code is StatusCode.UNSET


def test_a_refused_call_is_an_error_in_the_report_s_words(telemetry: Telemetry) -> None:
    """What the caller's exception says is the description of the status."""
    report = run(one_call(telemetry, lambda exchange: exchange.refuse(1014, "no such contract")))
    (span,) = telemetry.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == report.message
    assert attributes_of(span)["htx.outcome"] == "refused"
    assert attributes_of(span)["htx.is_clear"] is False
    (event,) = span.events
    assert (event.attributes or {})["htx.attempt.message"] == "no such contract"


def test_a_call_without_a_turn_has_no_server_and_says_what_ended_it(telemetry: Telemetry) -> None:
    """No attempt was made: `ended_by` has the reason."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange(), on_event=telemetry.listener) as htx:
            await htx.mass_cancel_trailing(contracts(6), deadline=0.5, look="none")

    run(main())
    (late,) = [s for s in telemetry.spans if attributes_of(s)["htx.outcome"] == "not_sent"]
    attributes = attributes_of(late)
    assert attributes["htx.attempts"] == len(late.events) == 0
    assert "its turn comes in" in attributes["htx.ended_by"]
    assert "server.address" not in attributes


def test_filters_and_urgency_are_attributes_of_the_span(telemetry: Telemetry) -> None:
    """As the exchange spells them, in plain strings that every exporter takes."""
    call = {"direction": "buy", "offset": "close", "urgent": True}
    run(one_call(telemetry, lambda exchange: None, **call))
    (span,) = telemetry.spans
    attributes = attributes_of(span)
    assert {f"htx.{name}": attributes[f"htx.{name}"] for name in call} == {
        "htx.direction": "buy",
        "htx.offset": "close",
        "htx.urgent": True,
    }
    assert {type(value) for value in attributes.values()} <= {str, bool, int}


def test_a_cancelled_caller_s_span_ends_with_what_is_known(telemetry: Telemetry) -> None:
    """On the wire unknown, in the queue not sent; both are errors, and nothing is kept."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange(), on_event=telemetry.listener) as htx:
            calls = [asyncio.ensure_future(htx.cancel_all_trailing(c)) for c in contracts(7)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    run(main())
    outcomes = Counter(attributes_of(span)["htx.outcome"] for span in telemetry.spans)
    assert outcomes == {"unknown": 5, "not_sent": 2}
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.ERROR}
    assert nothing_kept(telemetry.listener)


def test_every_call_is_a_child_of_the_span_in_which_it_was_made(telemetry: Telemetry) -> None:
    """A mass cancel's calls run in tasks of their own, a guard's are shielded, gathered callers
    are in different spans: each call finds its own parent, and does not become one."""
    tracer = telemetry.tracers.get_tracer("strategy")

    async def alone(htx: HtxSession, name: str) -> None:
        with tracer.start_as_current_span(name):
            await htx.cancel_all_trailing(name)

    async def main() -> None:
        async with virtual_session(SimulatedExchange(), on_event=telemetry.listener) as htx:
            with tracer.start_as_current_span("mass"):
                await htx.mass_cancel_trailing(["M0-USDT", "M1-USDT"])
            with tracer.start_as_current_span("guard"):
                async with htx.cancel_on_exit(["G-USDT"]):
                    await asyncio.sleep(0)
            await asyncio.gather(alone(htx, "A-USDT"), alone(htx, "B-USDT"))
            await htx.cancel_all_trailing(BTC)

    run(main())
    names = {span.context.span_id: span.name for span in telemetry.spans if span.context}
    parents = {
        attributes_of(span)["htx.contract_code"]: span.parent and names[span.parent.span_id]
        for span in telemetry.calls
    }
    assert parents == {
        "M0-USDT": "mass",
        "M1-USDT": "mass",
        "G-USDT": "guard",
        "A-USDT": "A-USDT",
        "B-USDT": "B-USDT",
        BTC: None,
    }


def every_misfortune(exchange: SimulatedExchange) -> None:
    """Faults whose replies and failures leave traces in attempts and reports."""
    exchange.refuse(1014, f"no contract for {ACCESS_KEY}", contract_code="C0-USDT")
    exchange.refuse(403, f"bad key {quote(ACCESS_KEY)}", contract_code="C1-USDT")
    exchange.malform(b"<html>" + ACCESS_KEY.encode(), status=500, contract_code="C2-USDT")
    exchange.lose_after_work(contract_code="C3-USDT")
    exchange.too_many(retry_after="2", contract_code="C4-USDT")
    exchange.late(60.0, times=9, contract_code="C5-USDT")
    exchange.bad_gateway(times=9, contract_code="C6-USDT")
    exchange.reply_headers = {"ratelimit-limit": "4", "ratelimit-interval": "1000"}


def test_metrics_add_up_to_what_the_reports_say(telemetry: Telemetry) -> None:
    """Outcomes, verdicts, waits, wire times and durations, under a mass cancel with faults."""
    events: list[Event] = []

    async def main() -> MassCancelReport:
        exchange = SimulatedExchange(now=wall)
        every_misfortune(exchange)
        both = [telemetry.listener, events.append]
        async with virtual_session(exchange, on_event=both, now=wall) as htx:
            return await htx.mass_cancel_trailing(contracts(12), deadline=30.0, look="none")

    reports = run(main()).reports
    attempts = [attempt for report in reports for attempt in report.attempts]

    def by(key: str, value: str) -> Attributes:
        server = {"server.address": "127.0.0.1"} if key == "htx.attempt.verdict" else {}
        return frozenset({key: value, **server}.items())

    outcomes = Counter(by("htx.outcome", report.outcome.value) for report in reports)
    assert len(outcomes) >= 4
    assert telemetry.counts("call.outcomes") == outcomes
    assert telemetry.sums("call.duration") == {
        key: (count, sum(r.elapsed for r in reports if by("htx.outcome", r.outcome.value) == key))
        for key, count in outcomes.items()
    }
    verdicts = Counter(by("htx.attempt.verdict", attempt.verdict.value) for attempt in attempts)
    assert len(verdicts) == 2
    assert telemetry.counts("attempt.verdicts") == verdicts
    assert telemetry.sums("attempt.wire") == {
        key: (count, sum(a.wire for a in attempts if by("htx.attempt.verdict", a.verdict) == key))
        for key, count in verdicts.items()
    }
    waits = (len(attempts), sum(attempt.waited for attempt in attempts))
    assert telemetry.sums("attempt.wait") == {frozenset(): waits}
    endpoint = frozenset({("htx.endpoint", PATH)})
    pauses = [event.seconds for event in events if isinstance(event, EndpointPaused)]
    assert pauses
    assert telemetry.counts("endpoint.pauses") == {endpoint: len(pauses)}
    assert telemetry.counts("endpoint.paused") == {endpoint: pytest.approx(sum(pauses))}
    changes = sum(isinstance(event, LimitChanged) for event in events)
    assert changes
    assert telemetry.counts("endpoint.limit_changes") == {endpoint: changes}
    assert sum(len(span.events) for span in telemetry.spans) == len(attempts)


def test_metrics_have_units_and_bounds_in_seconds_and_no_contract_codes(
    telemetry: Telemetry,
) -> None:
    """The names are the documented ones; what has hundreds of values is left to the spans."""
    run(one_call(telemetry, lambda exchange: exchange.too_many(retry_after="1")))
    telemetry.listener(LimitChanged(0.0, PATH, 3, 1.0))
    telemetry.listener(LimiterModeChanged(0.0, PATH, LimiterMode.OWN_SHARE, "refused"))
    telemetry.listener(GenerationChanged(0.0, ApiGeneration.V5, "v1 answered 6002"))
    metrics = telemetry.metrics
    assert {name.removeprefix("htx.client."): metric.unit for name, metric in metrics.items()} == {
        "call.outcomes": "{call}",
        "call.duration": "s",
        "attempt.verdicts": "{attempt}",
        "attempt.wait": "s",
        "attempt.wire": "s",
        "endpoint.pauses": "{pause}",
        "endpoint.paused": "s",
        "endpoint.limit_changes": "{change}",
        "limiter.mode_changes": "{change}",
        "generation_changes": "{change}",
    }
    documented = OpenTelemetry.__doc__ or ""
    assert all(f"`{name}`" in documented and metric.unit for name, metric in metrics.items())
    for name, metric in metrics.items():
        for point in metric.data.data_points:
            assert BTC not in (point.attributes or {}).values(), name
            if isinstance(point, HistogramDataPoint):
                assert point.explicit_bounds[0] < 0.01
                assert point.explicit_bounds[-1] == 60.0


def test_nothing_secret_is_exported(telemetry: Telemetry) -> None:
    """No key and no signature in any span or metric, whatever the exchange echoes."""

    async def main() -> set[str]:
        exchange = SimulatedExchange(access_key=ACCESS_KEY, secret_key=SECRET_KEY, now=wall)
        every_misfortune(exchange)
        secrets = {ACCESS_KEY, SECRET_KEY}
        handle = exchange.handle

        def listening(request: Request) -> Reply:
            signature = parse_qs(request.query)["Signature"][0]
            secrets.update({signature, quote(signature, safe="")})
            reply = handle(request)
            if b"C7-USDT" in request.body:
                body = b'{"status":"error","err_code":1067,"err_msg":"%s"}'
                echo = f"{request.query} {signature}".encode()
                return dataclasses.replace(reply, body=body % echo)
            return reply

        exchange.handle = listening  # type: ignore[method-assign]  # an exchange that echoes
        async with virtual_session(exchange, on_event=telemetry.listener, now=wall) as htx:
            await htx.mass_cancel_trailing(contracts(10), deadline=30.0, look="none")
        return secrets

    secrets = run(main())
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    exported = [data.to_json(), *(span.to_json() for span in telemetry.spans)]
    assert len(exported) == 11
    assert any("***" in text for text in exported)
    assert len(secrets) > 8
    for text in exported:
        shown = json.dumps(json.loads(text), ensure_ascii=False)
        assert not any(secret in shown or secret in text for secret in secrets)


def test_calls_that_never_end_do_not_pile_up(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many the oldest span ends, without an outcome; its call is counted all the same."""
    monkeypatch.setattr(htx_async.otel, "_MOST_SPANS", 3)
    for number in range(5):
        telemetry.listener(CallStarted(0.0, number, f"C{number}-USDT", urgent=False))
    ended = [attributes_of(span) for span in telemetry.spans]
    assert [one["htx.contract_code"] for one in ended] == contracts(2)
    assert not any("htx.outcome" in one for one in ended)
    report = CancelReport(
        contract_code="C0-USDT", direction=None, offset=None, outcome=Outcome.NOT_SENT
    )
    telemetry.listener(CallEnded(1.0, 0, report))
    telemetry.listener(CallEnded(1.0, 4, report))
    assert len(telemetry.spans) == 3
    assert sum(telemetry.counts("call.outcomes").values()) == 2
    assert len(telemetry.listener._spans) == 2


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider"])
def test_what_is_no_provider_is_told_at_once(name: str) -> None:
    """A wrong setting is named when the listener is made, not by an odd error of the API."""
    settings: dict[str, Any] = {name: 5}
    with pytest.raises(InvalidRequest, match=rf"^{name} must have .*; int has not$"):
        OpenTelemetry(**settings)


@pytest.mark.parametrize("broken", ["start_span", "add_event", "set_attributes", "end", "metrics"])
def test_a_provider_that_raises_changes_no_call(
    broken: str,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The call is clear, the log has the exception's name, no span is kept, and the half that
    works goes on."""

    def raising(*args: object, **kwargs: object) -> None:
        raise RuntimeError(SECRET_KEY)

    if broken == "metrics":
        for name in ("_outcomes", "_verdicts"):
            monkeypatch.setattr(getattr(telemetry.listener._metrics, name), "add", raising)
    else:
        owner = telemetry.listener._tracer if broken == "start_span" else Span
        monkeypatch.setattr(owner, broken, raising)
    with caplog.at_level(logging.WARNING, "htx_async"):
        report = run(one_call(telemetry, lambda exchange: None))
    assert report.is_clear
    assert "on_event raised RuntimeError" in caplog.text
    assert SECRET_KEY not in caplog.text
    assert nothing_kept(telemetry.listener)
    if broken in ("add_event", "set_attributes", "metrics"):
        assert len(telemetry.spans) == 1
    if broken != "metrics":
        assert sum(telemetry.counts("call.outcomes").values()) == 1
        assert sum(telemetry.counts("attempt.verdicts").values()) == 1


def test_without_an_sdk_nothing_happens() -> None:
    """The API's own providers take everything and keep nothing."""
    listener = OpenTelemetry()

    async def main() -> CancelReport:
        async with virtual_session(SimulatedExchange(), on_event=listener) as htx:
            return await htx.cancel_all_trailing(BTC)

    assert run(main()).is_clear
    assert nothing_kept(listener)


async def test_over_http_the_server_s_port_is_told(
    telemetry: Telemetry, exchange: SimulatedExchange, refusing_url: str
) -> None:
    """Over real sockets: the first base URL refuses, the second answers and is the span's."""
    exchange.place(BTC, "sell", "close", 3)
    urls = [refusing_url, exchange.url]
    async with HtxSession(exchange.credentials, base_urls=urls, on_event=telemetry.listener) as htx:
        report = await htx.cancel_all_trailing(BTC)
    (span,) = telemetry.spans
    events = [dict(event.attributes or {}) for event in span.events]
    assert [event["htx.attempt.base_url"] for event in events] == urls
    assert [event["htx.attempt.verdict"] for event in events] == ["not_sent", "accepted"]
    assert [event["htx.attempt.sent"] for event in events] == [False, True]
    attributes = attributes_of(span)
    assert attributes["htx.successes"] == len(report.successes) == 3
    assert f"http://{attributes['server.address']}:{attributes['server.port']}" == exchange.url
    assert span.start_time is not None
    assert span.end_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(report.elapsed, abs=0.5)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback that leaves one guessing, but what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    monkeypatch.delitem(sys.modules, "htx_async.otel")
    with pytest.raises(ImportError, match=r'pip install "htx-async\[otel\]"'):
        importlib.import_module("htx_async.otel")
