"""Ask pyright what it knows of the package's types, and hold it to this:

No symbol's type is unknown; and what users import, down to the members of each class, is declared,
so that every checker reads the same. Inside, what only some would infer otherwise is left alone.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
DOORS = (
    *("audit", "codes", "enums", "errors", "events", "logs", "otel", "pytest_plugin"),
    *("redis_limits", "simulator"),
)
BOUND = 300.0


def judged() -> list[dict[str, Any]]:
    """Every symbol of the package, as pyright sees it."""
    # It finds an environment by the PATH alone, and would ask an index for a later one of itself.
    found = {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [
        str(BIN / "pyright"),
        "--verifytypes",
        "htx_async",
        "--ignoreexternal",
        "--outputjson",
    ]
    done = subprocess.run(
        command,
        check=False,
        env=os.environ | found | quiet,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    symbols: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    return symbols


def homes() -> tuple[str, ...]:
    """Where everything stands that users can import."""
    import htx_async  # noqa: PLC0415 - only where there is Node.js

    names = (f"{home}.{name}" for name, home in vars(htx_async)["_HOMES"].items())
    return (*names, *(f"htx_async.{door}" for door in DOORS))


def main() -> int:
    """0 where all is known; what is not is named."""
    if shutil.which("node") is None:
        print("no Node.js here: what pyright knows of the types was not looked at")
        return 0
    held, wrong, known = homes(), [], 0
    for symbol in judged():
        name = symbol["name"]
        is_held = any(name == home or name.startswith(f"{home}.") for home in held)
        is_unknown = not symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
        known += is_held
        if is_unknown or (is_held and not symbol["isTypeKnown"]):
            told = {one["message"].replace("\n", " ") for one in symbol["diagnostics"]}
            wrong.append(f"{name}: {'; '.join(sorted(told))}")
    print(*wrong, sep="\n", end="\n" * bool(wrong))
    print(f"pyright: {known} public symbols, {len(wrong)} of them not known")
    return 1 if wrong or not known else 0


if __name__ == "__main__":
    sys.exit(main())
