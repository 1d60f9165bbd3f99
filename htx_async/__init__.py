"""Pull trailing orders on HTX USDT-M swaps: within the limit, with a true report.

    async with HtxSession.from_env() as htx:
        report = await htx.mass_cancel_trailing(["BTC-USDT", "ETH-USDT"], confirm=True)
        report.raise_for_outcome()

`HtxSession` is where everything begins: isolated margin, and `htx.cross` for cross margin. Without
keys there is `htx_async.simulator.SimulatedExchange` to try it on. Whatever is raised on purpose
is an `HtxError`.

Importing the package costs next to nothing: what it gives is loaded when the first of the names
below is asked for, all at once, and a module such as `htx_async.errors` by itself.
"""

__version__ = "0.2.0"
"""The only place that says so: the package's metadata and its command read it."""

# Not from typing, which has to be loaded first: checkers know the name, and read what follows.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from htx_async import (
        codes as codes,
        enums as enums,
        errors as errors,
        events as events,
        logs as logs,
    )
    from htx_async.calls.retry import RetryPolicy as RetryPolicy
    from htx_async.cancel.guard import CancelGuard as CancelGuard
    from htx_async.cross import CrossMargin as CrossMargin
    from htx_async.enums import (
        ALL_CONTRACTS as ALL_CONTRACTS,
        ApiGeneration as ApiGeneration,
        ContractType as ContractType,
        Direction as Direction,
        LimiterMode as LimiterMode,
        Look as Look,
        MarginMode as MarginMode,
        Offset as Offset,
        Outcome as Outcome,
        Verdict as Verdict,
    )
    from htx_async.errors import (
        AccountMigrated as AccountMigrated,
        AuthenticationFailed as AuthenticationFailed,
        CancelError as CancelError,
        CancelRefused as CancelRefused,
        EndpointRetired as EndpointRetired,
        HtxError as HtxError,
        InvalidRequest as InvalidRequest,
        MassCancelFailed as MassCancelFailed,
        NotSent as NotSent,
        OutcomeUnknown as OutcomeUnknown,
        PartialCancel as PartialCancel,
        RateLimited as RateLimited,
        ReadFailed as ReadFailed,
        SessionClosed as SessionClosed,
        Unavailable as Unavailable,
    )
    from htx_async.exchange.signing import Credentials as Credentials
    from htx_async.limits.host_limits import HostTokenBucket as HostTokenBucket
    from htx_async.limits.limiter import (
        BaseLimiter as BaseLimiter,
        RateLimiter as RateLimiter,
    )
    from htx_async.limits.token_bucket import TokenBucket as TokenBucket
    from htx_async.margin_calls import MarginCalls as MarginCalls
    from htx_async.mass_report import (
        MassCancelPlan as MassCancelPlan,
        MassCancelReport as MassCancelReport,
    )
    from htx_async.notify import heartbeat as heartbeat
    from htx_async.orders import TrailingOrder as TrailingOrder
    from htx_async.report import (
        Attempt as Attempt,
        CancelReport as CancelReport,
        OrderError as OrderError,
        WarmUp as WarmUp,
    )
    from htx_async.session import HtxSession as HtxSession, SessionSettings as SessionSettings
else:
    from importlib import import_module
    from sys import modules as _modules

    _HOMES = {
        "ALL_CONTRACTS": "htx_async.enums",
        "AccountMigrated": "htx_async.errors",
        "ApiGeneration": "htx_async.enums",
        "Attempt": "htx_async.report",
        "AuthenticationFailed": "htx_async.errors",
        "BaseLimiter": "htx_async.limits.limiter",
        "CancelError": "htx_async.errors",
        "CancelGuard": "htx_async.cancel.guard",
        "CancelRefused": "htx_async.errors",
        "CancelReport": "htx_async.report",
        "ContractType": "htx_async.enums",
        "Credentials": "htx_async.exchange.signing",
        "CrossMargin": "htx_async.cross",
        "Direction": "htx_async.enums",
        "EndpointRetired": "htx_async.errors",
        "HostTokenBucket": "htx_async.limits.host_limits",
        "HtxError": "htx_async.errors",
        "HtxSession": "htx_async.session",
        "InvalidRequest": "htx_async.errors",
        "LimiterMode": "htx_async.enums",
        "Look": "htx_async.enums",
        "MarginCalls": "htx_async.margin_calls",
        "MarginMode": "htx_async.enums",
        "MassCancelFailed": "htx_async.errors",
        "MassCancelPlan": "htx_async.mass_report",
        "MassCancelReport": "htx_async.mass_report",
        "NotSent": "htx_async.errors",
        "Offset": "htx_async.enums",
        "OrderError": "htx_async.report",
        "Outcome": "htx_async.enums",
        "OutcomeUnknown": "htx_async.errors",
        "PartialCancel": "htx_async.errors",
        "RateLimited": "htx_async.errors",
        "RateLimiter": "htx_async.limits.limiter",
        "ReadFailed": "htx_async.errors",
        "RetryPolicy": "htx_async.calls.retry",
        "SessionClosed": "htx_async.errors",
        "SessionSettings": "htx_async.session",
        "TokenBucket": "htx_async.limits.token_bucket",
        "TrailingOrder": "htx_async.orders",
        "Unavailable": "htx_async.errors",
        "Verdict": "htx_async.enums",
        "WarmUp": "htx_async.report",
        "heartbeat": "htx_async.notify",
    }
    """Where each name of this package is at home."""

    _BY_ITSELF = {"HostTokenBucket"}
    """What few need: a tenth of all there is to load."""

    __all__ = list(_HOMES)

    # A reload begins with what was loaded before it.
    for _name in __all__:
        globals().pop(_name, None)

    def __getattr__(name):
        """A name of the table, or a module of this package.

        All names but `_BY_ITSELF` are loaded at the first of them, so that they belong together
        whatever becomes of `sys.modules` later: `except htx_async.HtxError` catches what
        `htx_async.HtxSession` raises.
        """
        if name in _HOMES:
            wanted = _HOMES.keys() - _BY_ITSELF | {name}
            missing = [one for one in _HOMES if one in wanted and one not in globals()]
            globals().update({one: getattr(import_module(_HOMES[one]), one) for one in missing})
            return globals()[name]
        module = f"htx_async.{name}"
        try:
            if not name.startswith("_"):
                return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        said = f"module {__name__!r} has no attribute {name!r}"
        # With the module beside its name Python finds the name that was meant.
        raise AttributeError(said, name=name, obj=_modules.get(__name__))

    def __dir__():
        """What is loaded, and what can be."""
        return sorted({*globals(), *__all__})
