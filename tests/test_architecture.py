"""The house's rules: floors, doors, exported names, one root of errors, small rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import htx_async
from htx_async import HtxError

PACKAGE = Path(htx_async.__file__).parent

FLOORS: dict[str, int] = {
    "aio": 0,
    "aio.background": 0,
    "aio.isolation": 0,
    "aio.tasks": 0,
    "aio.timers": 0,
    "calls": 0,
    "cancel": 0,
    "codes": 0,
    "enums": 0,
    "errors": 0,
    "exchange": 0,
    "exchange.ed25519": 0,
    "exchange.headers": 0,
    "exchange.messages": 0,
    "limits": 0,
    "limits.waiting_line": 0,
    "limits.window": 0,
    "starting": 0,
    "transport": 0,
    "transport.decoding": 0,
    "aio.listeners": 1,
    "arguments": 1,
    "calls.base_urls": 1,
    "exchange.endpoints": 1,
    "exchange.environment": 1,
    "filters": 1,
    "limits.gate": 1,
    "limits.redis_link": 1,
    "report_text": 1,
    "transport.failures": 1,
    "transport.name_lookup": 1,
    "aio.loop_binding": 2,
    "calls.retry": 2,
    "calls.wall_clock": 2,
    "exchange.signing": 2,
    "limits.account_budget": 2,
    "limits.limiter": 2,
    "limits.redis_store": 2,
    "limits.slower_limit": 2,
    "orders": 2,
    "report": 2,
    "transport.http_sessions": 2,
    "calls.course": 3,
    "calls.default_deadline": 3,
    "events": 3,
    "exchange.models": 3,
    "exchange.operation": 3,
    "limits.redis_debts": 3,
    "limits.token_queue": 3,
    "outcome": 3,
    "simulator": 3,
    "transport.http": 3,
    "audit": 4,
    "calls.emitter": 4,
    "calls.heed": 4,
    "calls.in_flight": 4,
    "calls.scope": 4,
    "cancel.ledger": 4,
    "cancel.walk": 4,
    "exchange.envelope": 4,
    "exchange.v5_pages": 4,
    "limits.token_bucket": 4,
    "mass_report": 4,
    "otel": 4,
    "cancel.evidence": 5,
    "exchange.v1": 5,
    "exchange.v5": 5,
    "limits.account_limiter": 5,
    "limits.redis_told": 5,
    "calls.exchange_time": 6,
    "calls.generation": 6,
    "cancel.batches": 6,
    "cancel.states": 6,
    "limits.redis_queue": 6,
    "limits.registry": 6,
    "calls.clock_check": 7,
    "calls.resources": 7,
    "cancel.judge": 7,
    "redis_limits": 7,
    "calls.call": 8,
    "calls.contracts": 8,
    "cancel.context": 9,
    "cancel.confirm": 10,
    "cancel.v5_check": 10,
    "cancel.on_v5": 11,
    "cancel.procedures": 12,
    "cancel.mass": 13,
    "cancel.guard": 14,
    "margin_calls": 15,
    "cancel.closing": 16,
    "cross": 16,
    "session": 17,
    "": 18,
    "doctor.findings": 18,
    "doctor": 19,
    "pytest_plugin": 19,
    "cli": 20,
    "__main__": 21,
}

DOORS: dict[str, set[str]] = {
    "aiohttp": {
        "transport.failures",
        "transport.http_sessions",
        "transport.name_lookup",
        "transport.http",
        "session",
        "simulator",
    },
    "yarl": {"transport.http_sessions", "transport.http"},
    "aiolimiter": {
        "limits.account_budget",
        "limits.account_limiter",
        "limits.limiter",
        "calls.exchange_time",
        "calls.resources",
        "session",
    },
    "pydantic": {
        "filters",
        "exchange.models",
        "orders",
        "report",
        "mass_report",
        "exchange.environment",
    },
    "pydantic_settings": {"exchange.environment"},
    "cryptography": {"exchange.ed25519"},
    "opentelemetry": {"otel"},
    "redis": {"limits.redis_link"},
    "typer": {"cli"},
    "rich": {"cli", "cli.demo"},
    "pytest": {"pytest_plugin"},
    "pytest_asyncio": {"pytest_plugin"},
}
"""Who may import what; the session names two foreign types in its signature, nothing more."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """The module's name inside the package; some rooms have many corners."""
    parts = [part for part in file.relative_to(PACKAGE).with_suffix("").parts if part != "__init__"]
    return parts[0] if parts[:1] in (["simulator"], ["cli"]) else ".".join(parts)


def imports_of(file: Path) -> set[str]:
    """Modules that a file imports when it runs; what only a type checker sees does not count."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_imports_go_down_only() -> None:
    """A module imports from lower floors; neighbours do not know each other."""
    for file in MODULES:
        name = name_of(file)
        ours = {module for module in imports_of(file) if module.split(".")[0] == "htx_async"}
        known = {module.removeprefix("htx_async").removeprefix(".") for module in ours}
        others = {module for module in known if module in FLOORS and module != name}
        assert {module for module in others if FLOORS[module] >= FLOORS[name]} == set(), name


def test_each_third_party_has_its_door() -> None:
    """Foreign packages are imported where the table says, and nowhere else."""
    for file in MODULES:
        used = {module.split(".")[0] for module in imports_of(file)}
        foreign = used - set(sys.stdlib_module_names) - {"htx_async"}
        assert foreign <= set(DOORS), name_of(file)
        assert all(name_of(file) in DOORS[module] for module in foreign), name_of(file)


def test_rooms_stay_small() -> None:
    """No file over 350 lines, no function over 40 but for its docstring."""
    for file in MODULES:
        text = file.read_text()
        assert len(text.splitlines()) <= 350, name_of(file)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                has_doc = ast.get_docstring(node) is not None
                first = node.body[min(int(has_doc), len(node.body) - 1)]
                assert (node.end_lineno or 0) - first.lineno < 40, (name_of(file), node.name)


def test_the_table_of_contents_is_sorted_and_complete() -> None:
    """`__all__` lists what the package gives, each name importable."""
    assert htx_async.__all__ == sorted(htx_async.__all__)
    assert all(hasattr(htx_async, name) for name in htx_async.__all__)
    assert set(htx_async.errors.__all__) < set(htx_async.__all__)


def test_every_exported_error_has_one_root() -> None:
    """`except HtxError` catches whatever this package raises on purpose."""
    exported = [getattr(htx_async, name) for name in htx_async.__all__]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 15
    assert all(issubclass(kind, HtxError) for kind in kinds)


def test_importing_the_package_loads_no_extra() -> None:
    """Neither the extras, nor pydantic-settings, nor the simulator's web server."""
    code = "import sys, htx_async; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())
    unwanted = {
        "typer",
        "rich",
        "pydantic_settings",
        "cryptography",
        "redis",
        "opentelemetry",
        "aiohttp.web",
        "htx_async.simulator",
    }
    assert not loaded & unwanted


def _decides(node: ast.AST) -> bool:
    """Whether a node gives a report an outcome, or says that it is confirmed."""
    names = {"outcome", "confirmed"}
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store()):
            return name in names
        case ast.keyword(arg=name):
            return name in names
        case ast.Dict(keys=keys):
            return any(isinstance(key, ast.Constant) and key.value in names for key in keys)
    return False


def test_outcomes_are_decided_in_one_place() -> None:
    """No other module gives a report its outcome, or says that it is confirmed: by attribute,
    keyword or key."""
    deciding = {
        name_of(file)
        for file in MODULES
        if any(map(_decides, ast.walk(ast.parse(file.read_text()))))
    }
    # The command line's tables have columns of these names.
    assert deciding - {"cli"} == {"cancel.judge"}
