"""Ask pip-audit's databases about every version that the project's checks run with.

It exits 0 only when a database was asked about all of them and knows nothing against them. By
itself pip-audit calls that clean which its database does not know or cannot tell: so a release
with old, well-known flaws is asked about, too, and must be found.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
FLAWED = ("requests", "2.19.0")
"""Its flaws are public since 2018, and this project does not use it."""

BOUND = 300.0
SERVICES = ("pypi", "osv")


def answers(service: str, requirements: Path) -> list[dict[str, Any]] | None:
    """What a database says of each version; None when it cannot be asked."""
    command = (sys.executable, "-m", "pip_audit", "--vulnerability-service", service)
    how = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10")
    what = ("--format", "json", "--requirement", requirements)
    try:
        ended = subprocess.run(
            (*command, *how, *what), check=False, capture_output=True, text=True, timeout=BOUND
        )
        told: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return told


def verdict(told: list[dict[str, Any]] | None) -> tuple[int, str]:
    """The exit code and what to say: 0 clean, 1 flaws found, 2 no database to believe."""
    if told is None:
        return 2, "the database cannot be reached"
    flaws = {(one["name"], one.get("version")): one.get("vulns") or [] for one in told}
    skipped = sorted(one["name"] for one in told if "skip_reason" in one)
    if not flaws.pop(FLAWED, []):
        return 2, f"the database does not know the flaws of {'=='.join(FLAWED)}: do not believe it"
    if skipped:
        return 2, f"the database cannot tell about {', '.join(skipped)}"
    found = [f"{n} {v}: {flaw['id']}" for (n, v), listed in flaws.items() for flaw in listed]
    if found:
        return 1, "\n".join(found)
    return 0, f"{len(flaws)} versions, no known flaw"


def main() -> int:
    """Ask one database after the other until one can be believed."""
    with tempfile.TemporaryDirectory() as made:
        requirements = Path(made) / "requirements.txt"
        requirements.write_text(CONSTRAINTS.read_text() + "\n" + "==".join(FLAWED) + "\n")
        for service in SERVICES:
            code, words = verdict(answers(service, requirements))
            print(f"audit ({service}): {words}", file=sys.stderr if code else sys.stdout)
            if code < 2:
                return code
    print(
        "audit: NOT DONE; this says nothing about the versions in constraints.txt", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
