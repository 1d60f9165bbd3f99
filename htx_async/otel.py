"""A session's events as OpenTelemetry spans and metrics; the only door to its API.

Needs the extra: `pip install "htx-async[otel]"`. Which SDK and exporter take them is the
application's choice.
"""

from collections import OrderedDict
from urllib.parse import urlsplit

from htx_async.errors import InvalidRequest
from htx_async.events import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    EndpointPaused,
    Event,
    GenerationChanged,
    LimitChanged,
    LimiterModeChanged,
)
from htx_async.report import Attempt, CancelReport

try:
    from opentelemetry.metrics import Histogram, Meter, MeterProvider, get_meter
    from opentelemetry.trace import (
        Span,
        SpanKind,
        Status,
        StatusCode,
        TracerProvider,
        get_tracer,
    )
except ImportError as _error:
    raise ImportError(
        'htx_async.otel needs opentelemetry-api: pip install "htx-async[otel]"', name=_error.name
    ) from _error

_SCOPE = "htx_async"
_SPAN = "htx cancel_all_"
_ATTEMPT = "htx attempt"

_MOST_SPANS = 10_000
"""Calls under way at once; at five a second, one that waits behind so many has no chance."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds of the histograms: from a round trip next door to a mass cancel's queue."""

_PORTS = {"https": 443, "http": 80}

_Attributes = dict[str, str | bool | int | float]


class OpenTelemetry:
    """A listener that makes spans and metrics: `HtxSession(..., on_event=OpenTelemetry())`.

    Without providers it uses the global ones; what is none raises `InvalidRequest`. One may listen
    to several sessions.

    Each call is a span "htx cancel_all_trailing" of kind CLIENT (the family of its orders stands
    last), a child of the span that is current where the call is made, with these attributes:

    * from its start `htx.contract_code`, `htx.urgent`, and, where given, `htx.direction` and
      `htx.offset`;
    * at its end `htx.outcome`, `htx.is_clear`, the counts `htx.successes`, `htx.errors`,
      `htx.triggered` and `htx.attempts`, what ended it as `htx.ended_by` when the exchange did
      not, and `server.address` and `server.port` of the last attempt.

    A call that is not clear has the status ERROR and the report's message as its description.
    Each attempt is an event "htx attempt" of the span, with `htx.attempt.number`, `.base_url`,
    `.verdict`, `.sent`, `.waited` and `.wire` (seconds), and, where there are any, `.http_status`,
    `.code` (as text), `.message` and `.limiter_mode`.

    The metrics, with their units and attributes:

    * `htx.client.call.outcomes` {call}: `htx.outcome`;
    * `htx.client.call.duration` s, a histogram: `htx.outcome`;
    * `htx.client.attempt.verdicts` {attempt}: `htx.attempt.verdict`, `server.address`;
    * `htx.client.attempt.wait` s, a histogram of waits for a token: no attributes;
    * `htx.client.attempt.wire` s, a histogram: `htx.attempt.verdict`, `server.address`;
    * `htx.client.endpoint.pauses` {pause} and `htx.client.endpoint.paused` s: `htx.endpoint`;
    * `htx.client.endpoint.limit_changes` {change}: `htx.endpoint`;
    * `htx.client.limiter.mode_changes` {change}: `htx.endpoint`, `htx.limiter_mode`;
    * `htx.client.generation_changes` {change}: `htx.generation`.

    The contract code is no attribute of a metric: every value makes a time series of its own that
    is kept for as long as the process runs, and there are hundreds of contracts. Ask the spans.

    When 10 000 calls are under way, the oldest span ends without an outcome; its call is counted
    at its end all the same. What a provider raises changes no call.

    Nothing secret is in any of them. OpenTelemetry's own instrumentation of aiohttp is another
    matter: it sees the signed URL of every session in the process, so give it a `url_filter` that
    drops the query.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        _check_gives("tracer_provider", tracer_provider, "get_tracer")
        _check_gives("meter_provider", meter_provider, "get_meter")
        self._tracer = get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._metrics = _Metrics(get_meter(_SCOPE, meter_provider=meter_provider))
        self._spans: OrderedDict[int, Span] = OrderedDict()

    def __call__(self, event: Event) -> None:
        """Take one event of a session."""
        match event:
            case CallStarted():
                self._start(event)
            case AttemptEnded():
                self._note(event)
            case CallEnded():
                self._end(event)
            case EndpointPaused() | LimitChanged():
                self._metrics.count_slowing(event)
            case LimiterModeChanged():
                self._metrics.count_mode(event)
            case GenerationChanged():
                self._metrics.count_generation(event)

    def _start(self, event: CallStarted) -> None:
        attributes: _Attributes = {
            "htx.contract_code": event.contract_code,
            "htx.urgent": event.urgent,
        }
        filters = {"htx.direction": event.direction, "htx.offset": event.offset}
        attributes |= {name: value.value for name, value in filters.items() if value is not None}
        span = self._tracer.start_span(
            _SPAN + event.family, kind=SpanKind.CLIENT, attributes=attributes
        )
        self._spans[event.call] = span
        if len(self._spans) > _MOST_SPANS:
            _, oldest = self._spans.popitem(last=False)
            oldest.end()

    def _note(self, event: AttemptEnded) -> None:
        # Each in spite of the other: a provider may raise.
        try:
            self._metrics.count_attempt(event.attempt)
        finally:
            span = self._spans.get(event.call)
            if span is not None:
                span.add_event(_ATTEMPT, _of_attempt(event.attempt))

    def _end(self, event: CallEnded) -> None:
        span = self._spans.pop(event.call, None)
        try:
            self._metrics.count_call(event.report)
        finally:
            if span is not None:
                _finish(span, event.report)


def _finish(span: Span, report: CancelReport) -> None:
    try:
        span.set_attributes(_of_report(report))
        if not report.is_clear:
            span.set_status(Status(StatusCode.ERROR, report.message))
    finally:
        span.end()


def _of_report(report: CancelReport) -> _Attributes:
    attributes: _Attributes = {
        "htx.outcome": report.outcome.value,
        "htx.is_clear": report.is_clear,
        "htx.successes": len(report.successes),
        "htx.errors": len(report.errors),
        "htx.triggered": len(report.triggered),
        "htx.attempts": len(report.attempts),
    }
    if report.ended_by:
        attributes["htx.ended_by"] = report.ended_by
    if report.attempts:
        attributes |= _server(report.attempts[-1])
    return attributes


def _of_attempt(attempt: Attempt) -> _Attributes:
    attributes: _Attributes = {
        "htx.attempt.number": attempt.number,
        "htx.attempt.base_url": attempt.base_url,
        "htx.attempt.verdict": attempt.verdict.value,
        "htx.attempt.sent": attempt.sent,
        "htx.attempt.waited": attempt.waited,
        "htx.attempt.wire": attempt.wire,
    }
    if attempt.http_status is not None:
        attributes["htx.attempt.http_status"] = attempt.http_status
    if attempt.code is not None:
        # The exchange has numbers and words for codes; one attribute has one type.
        attributes["htx.attempt.code"] = str(attempt.code)
    if attempt.message:
        attributes["htx.attempt.message"] = attempt.message
    if attempt.limiter_mode is not None:
        attributes["htx.attempt.limiter_mode"] = attempt.limiter_mode.value
    return attributes


def _server(attempt: Attempt) -> _Attributes:
    parts = urlsplit(attempt.base_url)
    port = parts.port or _PORTS[parts.scheme]
    return {"server.address": parts.hostname or "", "server.port": port}


def _check_gives(name: str, provider: object, method: str) -> None:
    """`InvalidRequest` for what is given as a provider and cannot be asked for what one gives."""
    if provider is not None and not callable(getattr(provider, method, None)):
        kind = type(provider).__name__
        raise InvalidRequest(f"{name} must have {method}(), as OpenTelemetry's do; {kind} has not")


class _Metrics:
    """The instruments, and what is counted by them."""

    def __init__(self, meter: Meter) -> None:
        count, prefix = meter.create_counter, "htx.client"
        self._outcomes = count(f"{prefix}.call.outcomes", "{call}", "Calls by outcome")
        self._verdicts = count(f"{prefix}.attempt.verdicts", "{attempt}", "Attempts by verdict")
        self._pauses = count(f"{prefix}.endpoint.pauses", "{pause}", "Pauses that a reply began")
        self._paused = count(f"{prefix}.endpoint.paused", "s", "Time for which replies paused")
        self._limit_changes = count(
            f"{prefix}.endpoint.limit_changes", "{change}", "Replies that slowed an endpoint down"
        )
        self._modes = count(
            f"{prefix}.limiter.mode_changes", "{change}", "Changes between shared and own tokens"
        )
        self._generations = count(
            f"{prefix}.generation_changes", "{change}", "Accounts found on another API generation"
        )
        self._duration = _histogram(meter, f"{prefix}.call.duration", "Calls, queue and all")
        self._wait = _histogram(meter, f"{prefix}.attempt.wait", "Attempts' waits for a token")
        self._wire = _histogram(meter, f"{prefix}.attempt.wire", "From a token to the answer")

    def count_call(self, report: CancelReport) -> None:
        """One call that is over."""
        attributes = {"htx.outcome": report.outcome.value}
        self._outcomes.add(1, attributes)
        self._duration.record(report.elapsed, attributes)

    def count_attempt(self, attempt: Attempt) -> None:
        """One attempt that came to a verdict."""
        attributes = {
            "htx.attempt.verdict": attempt.verdict.value,
            "server.address": _server(attempt)["server.address"],
        }
        self._verdicts.add(1, attributes)
        self._wait.record(attempt.waited)
        self._wire.record(attempt.wire, attributes)

    def count_slowing(self, event: EndpointPaused | LimitChanged) -> None:
        """A reply that slowed an endpoint down."""
        attributes = {"htx.endpoint": event.endpoint}
        if isinstance(event, LimitChanged):
            self._limit_changes.add(1, attributes)
        else:
            self._pauses.add(1, attributes)
            self._paused.add(event.seconds, attributes)

    def count_mode(self, event: LimiterModeChanged) -> None:
        """A fleet's limiter that changed whose tokens it uses."""
        attributes = {"htx.endpoint": event.endpoint, "htx.limiter_mode": event.mode.value}
        self._modes.add(1, attributes)

    def count_generation(self, event: GenerationChanged) -> None:
        """An account that turned out to have moved."""
        self._generations.add(1, {"htx.generation": event.generation.value})


def _histogram(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS
    )
