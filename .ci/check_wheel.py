"""Build the sdist and the wheel, look into them, let twine judge them, and run the wheel where
nothing else is.

They are left in `dist/` when all is well. Needs hatchling, and a pip, here or on the PATH.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distributions
from pathlib import Path

from htx_async import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "htx_async"
BOUND = 60.0
"""Seconds for each step; all of them together take about twenty."""


def check(holds: bool, complaint: str) -> None:
    """End with `complaint` unless it holds."""
    if not holds:
        sys.exit(f"wheel: {complaint}")


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command prints, in an environment that does not lead back to the checkout."""
    ours = re.compile(r"PYTHON.*|HTX_.*|VIRTUAL_ENV")
    known = {name: value for name, value in os.environ.items() if not ours.fullmatch(name)}
    try:
        ended = subprocess.run(
            command, check=False, cwd=cwd, env=known, capture_output=True, text=True, timeout=BOUND
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"wheel: {' '.join(map(str, command))} did not end within {BOUND:g} s")
    shown = ended.stdout + ended.stderr
    told = f"{' '.join(map(str, command))} ended with {ended.returncode}:\n{shown}"
    check(ended.returncode == code, told)
    return shown


def build(kind: str, source: Path, into: Path) -> Path:
    """The file that hatchling makes of `source`."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into, cwd=source)
    (made,) = into.iterdir()
    return made


def unpacked(sdist: Path, into: Path) -> Path:
    """The one directory in an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    (inside,) = into.iterdir()
    return inside


def look_into(wheel: Path) -> None:
    """The package's files and what an installer needs; nothing more, no path of this machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = f"{PACKAGE}-{__version__}.dist-info"
    files = {path for path in (ROOT / PACKAGE).rglob("*") if path.is_file()}
    wanted = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    check(f"{PACKAGE}/py.typed" in wanted, "there is no py.typed")
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    wanted |= {f"{info}/{name}" for name in about}
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    check(set(content) == wanted, f"missing or too many: {sorted(set(content) ^ wanted)}")
    for name, data in content.items():
        for path in (ROOT, Path(sys.prefix), wheel.parent, Path.home()):
            check(os.fsencode(path) + b"/" not in data, f"{name} names {path}")
    metadata = message_from_bytes(content[f"{info}/METADATA"])
    check(metadata["Version"] == __version__, "the version is another")
    check(metadata["License-Expression"] == project["license"], "the licence is another")
    check(metadata["Requires-Python"] == project["requires-python"], "another Python")
    extras = set(project["optional-dependencies"])
    check(set(metadata.get_all("Provides-Extra", [])) == extras, "the extras are others")
    text = metadata.get_payload(decode=True)
    check(text == (ROOT / "README.md").read_bytes(), "the text is another")


def install(environment: Path, pins: Path, *wanted: str | Path) -> None:
    """Install into an environment, made here if it is not there, with the versions of `pins`."""
    if not environment.exists():
        # Not every Python can bring pip along; the one at hand installs into any environment.
        venv.create(environment, with_pip=False, symlinks=True)
    here = importlib.util.find_spec("pip") is not None
    pip = (sys.executable, "-m", "pip") if here else (shutil.which("pip") or "pip",)
    into = (*pip, "--python", environment / "bin/python", "--disable-pip-version-check")
    run(*into, "install", "--quiet", "--no-compile", "-c", pins, *wanted, cwd=environment)


def judge(inside: Path, *made: Path) -> None:
    """What an index would say of them; its warnings are failures."""
    environment = inside / "twine"
    install(environment, ROOT / ".ci/twine.txt", "twine")
    run(environment / "bin/python", "-m", "twine", "check", "--strict", *made, cwd=inside)


def try_out(wheel: Path, inside: Path) -> None:
    """Install it in an empty environment and use it from an empty directory."""
    environment, empty = inside / "environment", inside / "empty"
    empty.mkdir()
    pinned = ROOT / "constraints.txt"
    python, command = environment / "bin/python", environment / "bin/htx-async"

    install(environment, pinned, wheel)
    shown = run(
        python, "-I", "-W", "error", "-c", f"import {PACKAGE} as p; print(p.__file__)", cwd=empty
    )
    check(Path(shown.strip()).is_relative_to(environment), f"imported from {shown}")
    hint = run(command, "demo", cwd=empty, code=2)
    check('pip install "htx-async[cli]"' in hint, f"no hint at the extra: {hint}")

    install(environment, pinned, f"{wheel}[cli]")
    shown = run(command, "--version", cwd=empty)
    check(shown == f"htx-async {__version__}\n", f"the command is {shown}")
    check("cancel-all" in run(command, "--help", cwd=empty), "no help")
    check("they agree" in run(command, "demo", cwd=empty), "no demo")
    check(not any(empty.iterdir()), "it left files behind")

    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (packages,) = environment.glob("lib/python*/site-packages")
    brought = {str(one.name) for one in distributions(path=[str(packages)])} - {"htx-async"}
    loose = {name.lower() for name in brought} - {name.lower() for name in pins}
    check(bool(brought) and not loose, f"not pinned in constraints.txt: {sorted(loose)}")


def main() -> None:
    """All of it, in a directory that goes away."""
    with tempfile.TemporaryDirectory() as made:
        inside = Path(made)
        wheel = build("wheel", ROOT, inside / "wheel")
        sdist = build("sdist", ROOT, inside / "sdist")
        again = build("wheel", unpacked(sdist, inside / "source"), inside / "again")
        check(again.name == wheel.name, f"the sdist makes {again.name}")
        check(again.read_bytes() == wheel.read_bytes(), "the sdist makes another wheel")
        look_into(wheel)
        judge(inside, wheel, sdist)
        try_out(wheel, inside)
        dist = ROOT / "dist"
        dist.mkdir(exist_ok=True)
        for one in (wheel, sdist):
            shutil.copy(one, dist)
            print(f"dist/{one.name}")


if __name__ == "__main__":
    main()
