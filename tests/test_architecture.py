"""The house's rules: wings, doors, exported names, one root of errors, small rooms."""

import ast
import runpy
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import htx_async
from htx_async import HtxError

PACKAGE = Path(htx_async.__file__).parent
EXPORTED: list[str] = vars(htx_async)["__all__"]

DOORS: dict[str, set[str]] = {
    "aiohttp": {
        "transport.failures",
        "transport.http_sessions",
        "transport.name_lookup",
        "transport.http",
        "transport.marked_body",
        "transport.sending",
        "session",
        "simulator",
    },
    "yarl": {"transport.http_sessions", "transport.sending"},
    "aiolimiter": {
        "limits.account_budget",
        "limits.account_limiter",
        "limits.limiter",
        "calls.exchange_time",
        "calls.resources",
        "session",
    },
    "pydantic": {
        "attempt",
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
    "pytest": {"pytest_plugin", "pytest_plugin.loops"},
}
"""Who may import what; the session names two foreign types in its signature, nothing more."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """The module's name inside the package; some rooms have many corners."""
    parts = [part for part in file.relative_to(PACKAGE).with_suffix("").parts if part != "__init__"]
    return parts[0] if parts[:1] in (["simulator"], ["cli"]) else ".".join(parts)


def imports_of(file: Path, *, for_types: bool = False) -> set[str]:
    """Modules that a file imports when it runs; what only a type checker sees counts if asked."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = node.body if for_types else []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Whoever reads a module can read what it knows first; type-checking imports count."""
    names = {".".join(("htx_async", name_of(file))).rstrip(".") for file in MODULES}
    known: dict[str, set[str]] = {name: set() for name in names}
    for file in MODULES:
        name = ".".join(("htx_async", name_of(file))).rstrip(".")
        found = imports_of(file, for_types=True) & names
        # A package named on the way to a module inside it is not what is meant.
        faces = {each for each in found if any(one.startswith(f"{each}.") for one in found)}
        known[name] |= found - faces - {name}
    assert list(TopologicalSorter(known).static_order())


def test_each_third_party_has_its_door() -> None:
    """Foreign packages are imported where the table says, and nowhere else."""
    for file in MODULES:
        used = {module.split(".")[0] for module in imports_of(file, for_types=True)}
        foreign = used - set(sys.stdlib_module_names) - {"htx_async"}
        assert foreign <= set(DOORS), name_of(file)
        assert all(name_of(file) in DOORS[module] for module in foreign), name_of(file)


def test_rooms_stay_small() -> None:
    """No file over 350 lines, no function over 40 but for its docstring; 22 modules at the root."""
    assert len(list(PACKAGE.glob("*.py"))) <= 22
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
    assert sorted(EXPORTED) == EXPORTED
    assert all(hasattr(htx_async, name) for name in EXPORTED)
    assert set(htx_async.errors.__all__) < set(EXPORTED)


def test_every_exported_error_has_one_root() -> None:
    """`except HtxError` catches whatever this package raises on purpose."""
    exported = [getattr(htx_async, name) for name in EXPORTED]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 15
    assert all(issubclass(kind, HtxError) for kind in kinds)


@pytest.mark.slow
def test_importing_the_package_loads_no_extra() -> None:
    """Neither the extras, nor pydantic-settings, nor the simulator's web server."""
    code = "import sys; from htx_async import HtxSession; print(*sys.modules)"
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


def test_the_picture_of_the_wings_shows_the_imports_as_they_are() -> None:
    """docs/pictures/wings.svg is what its script draws now; `make figures` brings it up to date."""
    wings = runpy.run_path(str(PACKAGE.parent / ".ci" / "wings.py"))
    assert wings["PICTURE"].read_text() == wings["drawn"](), "run `make figures`"


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
