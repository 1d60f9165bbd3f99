"""What a reply asks of those who come after it, passed on to the limiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from htx_async.codes import CodeClass, classify
from htx_async.enums import Verdict
from htx_async.events import EndpointPaused, LimitChanged
from htx_async.exchange.headers import pause_after, pause_when_spent, told_limit

if TYPE_CHECKING:
    from htx_async.calls.emitter import Emitter
    from htx_async.exchange.messages import Answer
    from htx_async.exchange.operation import Reply
    from htx_async.limits.limiter import BaseLimiter


def heeded(
    limiter: BaseLimiter,
    endpoint: str,
    answer: Answer,
    reply: Reply,
    now: float,
    emitter: Emitter | None,
) -> dict[str, object]:
    """Slow `endpoint` down and pause it as the reply asks; the fields of the attempt that tell."""
    told = told_limit(answer.headers)
    limit = None if told is None else limiter.tighten(endpoint, *told)
    if limit is not None and emitter:
        emitter.emit(LimitChanged(now, endpoint, *limit))
    asked = asked_after(answer, reply)
    if asked is not None:
        length = limiter.refused(endpoint, asked)
    else:
        asked = length = pause_when_spent(answer.headers, reply.ts) or 0.0
        if length:
            limiter.pause(endpoint, length)
    if length and emitter:
        emitter.emit(EndpointPaused(now, endpoint, length))
    return {} if limit is None and not length else {"limit": limit, "paused": asked}


def asked_after(answer: Answer, reply: Reply) -> float | None:
    """Seconds that a refusal for the rate asks to wait; None for any other reply."""
    if reply.verdict is not Verdict.REFUSED:
        return None
    if classify(reply.code, answer.status) is not CodeClass.RATE_LIMITED:
        return None
    return pause_after(answer.headers, reply.ts)
