"""The README and the pages in `docs`, and their Python."""

import re
from typing import Any

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md"))}
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
EXAMPLES = _BLOCK.findall(README)


def execute(example: str, namespace: dict[str, Any]) -> None:
    exec(compile(example, "README.md", "exec"), namespace)  # noqa: S102 - our own README
