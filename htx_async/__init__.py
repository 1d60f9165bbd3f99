"""Pull trailing orders on HTX USDT-M swaps: within the limit, with a true account."""

from htx_async.starting import Loading

with Loading():
    from htx_async.calls.retry import RetryPolicy
    from htx_async.enums import (
        ALL_CONTRACTS,
        ApiGeneration,
        ContractType,
        Direction,
        LimiterMode,
        MarginMode,
        Offset,
        Outcome,
        Verdict,
    )
    from htx_async.errors import (
        AccountMigrated,
        AuthenticationFailed,
        CancelError,
        CancelRefused,
        EndpointRetired,
        HtxError,
        InvalidRequest,
        MassCancelFailed,
        NotSent,
        OutcomeUnknown,
        PartialCancel,
        RateLimited,
        ReadFailed,
        SessionClosed,
        Unavailable,
    )
    from htx_async.exchange.signing import Credentials
    from htx_async.limits.limiter import BaseLimiter, RateLimiter
    from htx_async.limits.token_bucket import TokenBucket
    from htx_async.mass_report import MassCancelPlan, MassCancelReport
    from htx_async.orders import TrailingOrder
    from htx_async.report import Attempt, CancelReport, OrderError, WarmUp
    from htx_async.session import HtxSession

__all__ = [
    "ALL_CONTRACTS",
    "AccountMigrated",
    "ApiGeneration",
    "Attempt",
    "AuthenticationFailed",
    "BaseLimiter",
    "CancelError",
    "CancelRefused",
    "CancelReport",
    "ContractType",
    "Credentials",
    "Direction",
    "EndpointRetired",
    "HtxError",
    "HtxSession",
    "InvalidRequest",
    "LimiterMode",
    "MarginMode",
    "MassCancelFailed",
    "MassCancelPlan",
    "MassCancelReport",
    "NotSent",
    "Offset",
    "OrderError",
    "Outcome",
    "OutcomeUnknown",
    "PartialCancel",
    "RateLimited",
    "RateLimiter",
    "ReadFailed",
    "RetryPolicy",
    "SessionClosed",
    "TokenBucket",
    "TrailingOrder",
    "Unavailable",
    "Verdict",
    "WarmUp",
]
