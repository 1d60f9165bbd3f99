"""That the simulated exchange says what it promises: each public name, each argument."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from htx_async import simulator
from htx_async.simulator import SimulatedExchange
from htx_async.simulator.faults import Misbehaviour, Which

NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FILES = sorted(Path(simulator.__file__).parent.glob("*.py"))
METHODS = [
    name
    for name, value in inspect.getmembers(SimulatedExchange, inspect.isfunction)
    if not name.startswith("_")
]


def undocumented(node: Any, where: str) -> Iterator[str]:
    """Public names in a module or class that have no docstring."""
    if ast.get_docstring(node) is None:
        yield where
    if isinstance(node, ast.Module | ast.ClassDef):
        for one in node.body:
            if isinstance(one, NAMED) and not one.name.startswith("_"):
                yield from undocumented(one, f"{where}.{one.name}")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_public_name_has_a_docstring(file: Path) -> None:
    """Modules, classes, methods, properties and functions, inside of the package too."""
    assert not list(undocumented(ast.parse(file.read_text()), file.stem))


def unnamed(arguments: Any, *docstrings: str | None) -> list[str]:
    """Those that stand in none of the docstrings between backquotes."""
    text = "\n".join(filter(None, docstrings))
    return [name for name in arguments if not re.search(rf"`{name}\b", text)]


def test_the_exchange_names_each_of_its_settings() -> None:
    """Every argument of the constructor is told of in the docstring of the class."""
    settings = inspect.signature(SimulatedExchange).parameters
    assert len(settings) > 20
    assert not unnamed(settings, SimulatedExchange.__doc__)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_names_each_of_its_arguments(name: str) -> None:
    """In its own docstring; which requests a fault is for, all methods that arm one have alike."""
    method = getattr(SimulatedExchange, name)
    common = Misbehaviour.__doc__ if name in vars(Misbehaviour) else None
    arguments = [*inspect.signature(method).parameters][1:]
    if "which" in arguments:
        arguments.remove("which")
        assert not unnamed(Which.__annotations__, Misbehaviour.__doc__)
    assert not unnamed(arguments, method.__doc__, common)
