"""The pages of this folder as HTML: `make docs`. Nothing is asked from the network."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from htx_async import TrailingOrder  # noqa: E402 - found by the line above

project = "htx_async"
author = "the authors of htx_async"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
templates_path: list[str] = []
nitpicky = False

# Anchors as on a page of Markdown anywhere else: the words of the heading.
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

# Docstrings put names and values between single backticks, as Markdown does.
default_role = "literal"
add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "htx_async"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = True
html_domain_indices = False
html_show_copyright = False

_PAGE = re.compile(r"^[-*] \[[^]]*\]\(([\w/-]+)\.md\)", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_OUTSIDE = re.compile(r"(?<!!)(\[[^]]*\]\()(\.\./[^)#]+)(?:#[^)]*)?\)")


def contents(app: Sphinx, name: str, source: list[str]) -> None:
    """The list of pages in `index.md` is the table of contents: each of its sections a part."""
    if name != "index":
        return
    head, *rest = _SECTION.split(source[0])
    parts = list(zip(rest[::2], rest[1::2], strict=True))
    for title, text in parts:
        if pages := _PAGE.findall(text):
            head += (
                f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
            )
    source[0] = head + "".join(f"## {title}{text}" for title, text in parts)


def outside(app: Sphinx, name: str, source: list[str]) -> None:
    """What a page names of the repository beside `docs`, such as an example, is given along."""
    if "/" not in name:
        source[0] = _OUTSIDE.sub(r"\1path:\2)", source[0])


def setup(app: Sphinx) -> None:
    """Hooks, and the types that an order's fields have once it was read."""
    fields = TrailingOrder.model_fields.items()
    TrailingOrder.__annotations__.update({name: field.annotation for name, field in fields})
    app.connect("source-read", outside)
    app.connect("source-read", contents)
