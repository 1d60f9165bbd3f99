"""Cross margin: the same calls on paths of their own, and dated futures besides swaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from htx_async.calls.resources import Resources
from htx_async.cancel.ledger import Intent
from htx_async.enums import (
    AllContracts,
    ContractTypeLike,
    DirectionLike,
    MarginMode,
    OffsetLike,
)
from htx_async.errors import InvalidRequest
from htx_async.filters import OrderFilter
from htx_async.margin_calls import MarginCalls
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport


class CrossMargin(MarginCalls):
    """`htx.cross`: the trailing orders of an account in cross margin.

    The methods of `HtxSession`, on the exchange's cross twins; limits, deadlines, reports and
    errors are the same. A contract is named by `contract_code` (`BTC-USDT`, or a dated future such
    as `BTC-USDT-261225`), or by `pair` together with `contract_type` (HTX API docs, "[Cross]
    Cancel All Trailing Orders").
    """

    _margin_mode = MarginMode.CROSS

    def __init__(self, deadline: float, ready: Callable[[bool], Resources]) -> None:
        super().__init__(deadline)
        self._session_ready = ready

    async def cancel_all_trailing(
        self,
        contract_code: str | None = None,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        pair: str | None = None,
        contract_type: ContractTypeLike | None = None,
        deadline: float | None = None,
        urgent: bool = False,
        confirm: bool = False,
    ) -> CancelReport:
        """See `HtxSession.cancel_all_trailing`."""
        wanted = self._named(contract_code, direction, offset, pair, contract_type)
        return await self._cancel_all(Intent(wanted, confirm=confirm), deadline, urgent)

    async def open_trailing(
        self,
        contract_code: str | AllContracts | None = None,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        pair: str | None = None,
        contract_type: ContractTypeLike | None = None,
        deadline: float | None = None,
    ) -> tuple[TrailingOrder, ...]:
        """See `HtxSession.open_trailing`; with `ALL_CONTRACTS` those of the whole account, by one
        list (HTX API docs, "[Cross] Current unfilled trailing order acquisition"). That V5 has such
        a list is not documented: it raises `ReadFailed` until one has shown orders of two."""
        if not isinstance(contract_code, AllContracts):
            wanted = self._named(contract_code, direction, offset, pair, contract_type)
            return await self._open(wanted, deadline)
        if not pair is contract_type is None:
            raise InvalidRequest("ALL_CONTRACTS means every contract: name none beside it")
        return await self._open(OrderFilter.of_all(direction, offset, self._margin_mode), deadline)

    async def trailing_history(
        self,
        contract_code: str | None = None,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        pair: str | None = None,
        contract_type: ContractTypeLike | None = None,
        since: datetime | float | None = None,
        deadline: float | None = None,
    ) -> tuple[TrailingOrder, ...]:
        """See `HtxSession.trailing_history`."""
        wanted = self._named(contract_code, direction, offset, pair, contract_type)
        return await self._history(wanted, since, deadline)

    async def cancel_trailing(
        self,
        contract_code: str | None = None,
        order_ids: Iterable[str] = (),
        *,
        pair: str | None = None,
        contract_type: ContractTypeLike | None = None,
        deadline: float | None = None,
        urgent: bool = False,
    ) -> CancelReport:
        """See `HtxSession.cancel_trailing`."""
        wanted = self._named(contract_code, None, None, pair, contract_type)
        return await self._cancel_ids(wanted, order_ids, deadline, urgent)

    def _named(
        self,
        contract_code: str | None,
        direction: DirectionLike | None,
        offset: OffsetLike | None,
        pair: str | None,
        contract_type: ContractTypeLike | None,
    ) -> OrderFilter:
        name = (pair, contract_type)
        return OrderFilter.checked(contract_code, direction, offset, self._margin_mode, *name)

    def _ready(self, is_promised: bool = False) -> Resources:
        return self._session_ready(is_promised)
