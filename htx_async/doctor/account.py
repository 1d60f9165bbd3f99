"""The findings about the account: what the exchange says to a request that is signed for it."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence

from htx_async.codes import CodeClass
from htx_async.doctor.findings import Finding
from htx_async.enums import ALL_CONTRACTS, Verdict
from htx_async.errors import HtxError, ReadFailed
from htx_async.exchange.signing import Credentials
from htx_async.orders import TrailingOrder
from htx_async.report import Attempt
from htx_async.report_text import refusal_of
from htx_async.session import HtxSession, SessionSettings

_Rows = Sequence[TrailingOrder]
_ANY_CONTRACT = "BTC-USDT"


async def of_account(
    credentials: Credentials, settings: SessionSettings, seconds: float
) -> list[Finding]:
    """By lists of open orders, which touch none: in cross margin that of the account, in isolated
    margin, where each contract has its own, that of one. Without a signed reply nothing is known
    of the account, and nothing is told of it."""
    async with HtxSession(credentials, **settings) as htx:
        isolated, cross = await asyncio.gather(
            _read(htx.open_trailing(_ANY_CONTRACT, deadline=seconds)),
            _read(htx.cross.open_trailing(ALL_CONTRACTS, deadline=seconds)),
        )
        whole, where = not isinstance(cross, HtxError), htx.generation
        if not whole and not isinstance(isolated, HtxError):
            # V5 is not known to have a list of the account.
            cross = await _read(htx.cross.open_trailing(_ANY_CONTRACT, deadline=seconds))
            if not isolated or htx.generation[0] is not where[0]:
                # An empty list takes nothing back of what an order has shown.
                where = htx.generation
    refused = _refusal((isolated, cross))
    if refused is not None:
        return [refused]
    taken = Finding("keys accepted", True, _TAKEN)
    if isinstance(isolated, HtxError):
        return [taken, Finding("generation", False, _bare(str(isolated)), _ASK_ON_THE_WEBSITE)]
    told = f"isolated margin: {len(isolated)} open on {_ANY_CONTRACT} alone, by its own list"
    return [
        taken,
        Finding("generation", True, "{} ({})".format(*where)),
        Finding("open orders", True, f"{told}; {_of_cross(cross, whole=whole)}"),
    ]


_TAKEN = "the exchange took a signed request; whether they may cancel, only a cancel shows"
_ASK_ON_THE_WEBSITE = (
    "try again; the exchange's website tells which kind of account it is, and whether it is in "
    "maintenance"
)
_MEND_KEYS = (
    "check that HTX_ACCESS_KEY and HTX_SECRET_KEY (or the files that are named) belong together, "
    "that the key may read and trade, to which addresses it is bound, whether it has expired, and "
    "this machine's clock"
)
_SEE_ABOVE = "see what stands above about the base URLs, and try again"


async def _read(read: Awaitable[_Rows]) -> _Rows | HtxError:
    try:
        return await read
    except HtxError as error:
        return error


def _refusal(answers: Collection[_Rows | HtxError]) -> Finding | None:
    """What is wrong with the keys, or that nobody has told; None where a signed reply was had."""
    failures = [one for one in answers if isinstance(one, ReadFailed)]
    attempts = [attempt for failure in failures for attempt in failure.attempts]
    refusals = [one for one in attempts if one.verdict is Verdict.REFUSED]
    by_key = [one for one in refusals if one.code_class is CodeClass.AUTH]
    if any(not isinstance(one, HtxError) for one in answers) or any(map(_is_of_account, refusals)):
        return None
    if by_key:
        return Finding("keys accepted", False, refusal_of(by_key[-1]), _MEND_KEYS)
    why = _bare(str(failures[0])) if failures else "nothing was asked"
    return Finding("keys accepted", False, f"not known: {why}", _SEE_ABOVE)


def _is_of_account(attempt: Attempt) -> bool:
    """Whether a refusal is one that the exchange gives to keys which it knows."""
    is_word = attempt.code is not None
    return is_word and attempt.code_class not in (CodeClass.AUTH, CodeClass.RATE_LIMITED)


def _of_cross(cross: _Rows | HtxError, *, whole: bool) -> str:
    if isinstance(cross, HtxError):
        return "cross margin could not be read"
    where = (
        "on any contract, by one list" if whole else f"on {_ANY_CONTRACT} alone, by its own list"
    )
    return f"cross margin: {len(cross)} open {where}"


def _bare(text: str) -> str:
    return text.rstrip(".")
