"""One request of a call and what came of it; one order that the exchange did not cancel."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from htx_async.codes import Code, CodeClass, classify
from htx_async.enums import LimiterMode, Verdict


class Frozen(BaseModel):
    """A value of a report: it does not change, and is built when it is first needed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)


def _writable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


Words = Annotated[str, AfterValidator(_writable)]
"""Text that may name a path or come from a caller's function: what UTF-8 cannot write is escaped,
so that a report can be kept whatever it says."""


class OrderError(Frozen):
    """One order that the exchange refused to cancel. `err_msg` is foreign text, escaped and cut."""

    order_id: str
    err_code: Code | None
    err_msg: str


def class_of(verdict: Verdict, code: Code | None, http_status: int | None) -> CodeClass | None:
    """How a refusal, or a code, has to be taken; None where there was neither."""
    if verdict is not Verdict.REFUSED and code is None:
        return None
    return classify(code, http_status)


def _class_of(known: dict[str, Any]) -> CodeClass | None:
    return class_of(known["verdict"], known["code"], known["http_status"])


class Attempt(Frozen):
    """One request of a call, whether it left this host or not.

    `started`: UTC, when its token was granted. `waited`: seconds in the queue before that.
    `wire`: seconds from then to the answer or failure. `sent` is False only when it is certain
    that no byte left. `message`: the exchange's words, escaped and cut, or our own about a failure.
    `paused`: seconds that the reply asked to wait; after a refusal for the rate that named no time,
    one. The endpoint itself is closed for one second at least and 10 at most. `limit`: the limit in
    force since this reply, as requests and the seconds that they are for, where it slowed the
    endpoint down, undid that, or was the first after that ran out; else None.
    `limiter_mode`: whose token it used, where a fleet shares them; else None. `request`: its number
    among the requests of the user's whole call; one that served several contracts stands in the
    report of each with the same. `excerpt`: the first 300 characters of a reply that could not be
    believed, escaped and without the request's secrets, to show to the exchange; else "".
    `code_class`: how a refusal, or a code, has to be taken; None where there was neither.
    `shared_by`: the calls, by their numbers in events, that this one request served, where it was
    more than one: calls that wait for the same are sent once, and on V5 up to ten orders go in one
    request, whatever their contracts.
    """

    number: int
    base_url: str
    started: datetime
    waited: float
    wire: float
    http_status: int | None
    verdict: Verdict
    code: Code | None
    message: str
    sent: bool
    paused: float = 0.0
    limit: tuple[int, float] | None = None
    limiter_mode: LimiterMode | None = None
    request: int = 0
    excerpt: str = ""
    code_class: CodeClass | None = Field(default_factory=_class_of)
    shared_by: tuple[int, ...] = ()
