"""The house's rules: floors, doors, exported names, one root of errors, small rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import htx_async
from htx_async import HtxError

PACKAGE = Path(htx_async.__file__).parent

FLOORS: dict[str, int] = {
    "codes": 0,
    "decoding": 0,
    "errors": 0,
    "headers": 0,
    "starting": 0,
    "tasks": 0,
    "terms": 0,
    "timers": 0,
    "window": 0,
    "wire": 0,
    "base_urls": 1,
    "checks": 1,
    "ed25519": 1,
    "environment": 1,
    "gate": 1,
    "line": 1,
    "loop_binding": 2,
    "listeners": 1,
    "models": 1,
    "names": 1,
    "telling": 1,
    "account_budget": 2,
    "orders": 2,
    "report": 2,
    "retry": 2,
    "signing": 2,
    "wall_clock": 2,
    "events": 3,
    "failures": 3,
    "outcome": 3,
    "token_queue": 3,
    "audit": 4,
    "token_bucket": 4,
    "batches": 4,
    "confirmed": 4,
    "generation": 4,
    "job": 4,
    "limits": 5,
    "accounts": 6,
    "mass_report": 4,
    "otel": 4,
    "redis_store": 4,
    "simulator": 4,
    "transport": 4,
    "mass_cancel": 5,
    "redis_debts": 5,
    "routes": 5,
    "routes.envelope": 5,
    "trial": 5,
    "v5_report": 5,
    "guard": 6,
    "redis_queue": 6,
    "routes.v1": 6,
    "routes.v5": 6,
    "exchange_time": 7,
    "redis_limits": 7,
    "clock_check": 8,
    "heed": 8,
    "means": 8,
    "call": 9,
    "contracts": 9,
    "reading": 10,
    "confirmation": 11,
    "second_opinion": 11,
    "v5_leg": 11,
    "open_lists": 12,
    "v1_leg": 12,
    "cancel_all": 13,
    "cancel_by_ids": 13,
    "survey": 14,
    "desk": 15,
    "closing": 16,
    "cross": 16,
    "session": 17,
    "finding": 18,
    "": 19,
    "doctor": 19,
    "demo": 20,
    "pytest_plugin": 20,
    "cli": 21,
    "__main__": 22,
}

DOORS: dict[str, set[str]] = {
    "aiohttp": {"failures", "names", "transport", "session", "simulator"},
    "yarl": {"transport"},
    "aiolimiter": {"account_budget", "limits", "exchange_time", "means", "session"},
    "pydantic": {"models", "orders", "report", "mass_report", "environment"},
    "pydantic_settings": {"environment"},
    "cryptography": {"ed25519"},
    "opentelemetry": {"otel"},
    "redis": {"redis_store"},
    "typer": {"cli"},
    "rich": {"cli", "demo"},
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
