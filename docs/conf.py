"""The documentation as a site: `make docs` builds it from these pages, offline, and fails at a warning or a dead link."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers import ProtoBufLexer, TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "clients" / "python")]

import inferd  # noqa: E402

project = "inferd"
author = "the inferd authors"
release = inferd.__version__
html_title = "inferd"
html_theme = "furo"
html_extra_path = ["llms.txt"]
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
highlight_language = "text"
smartquotes = False
copybutton_prompt_text = "$ "
html_copy_source = True
html_show_sourcelink = True

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # pages of benchmarks/, which a program writes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True


PARAMETER = re.compile(r"(\w+): +(\S.*)")


def plain_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: paragraphs with `code`, lists of parameters, and indented blocks that keep their lines."""
    found: list[str] = []
    for is_blank, block in groupby(lines, key=lambda line: not line.strip()):
        kept = list(block)
        if is_blank:
            found += kept
        elif PARAMETER.match(kept[0]) and len(kept) > 1:
            begun = (PARAMETER.match(line) for line in kept)
            found += [
                f":param {match[1]}: {marked_up(match[2])}" if match else f"    {marked_up(line.strip())}"
                for line, match in zip(kept, begun, strict=True)
            ]
        elif any(line.startswith(" ") for line in kept):
            found += ["::", "", *(f"    {line}" for line in kept)]
        else:
            found += map(marked_up, kept)
    lines[:] = [*found, ""]


def marked_up(line: str) -> str:
    """Plain text as reST, which wants a space behind a literal; a backslash hides it."""
    escaped = re.sub(r"([*|_])(?![^`]*`[^`]*$)", r"\\\1", line)
    return re.sub(r"`([^`]+)`", r"``\1``\\ ", escaped)


def local_links(app: Sphinx, document: str, source: list[str]) -> None:
    """A page of the repository that is not a page of the site is named, and not linked."""
    source[0] = re.sub(r"\[([^\]]*)\]\((?:\.\./)+([^)#]+\.md)(?:#[^)]*)?\)", r"\1 (`\2`)", source[0])


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", plain_text)
    app.connect("source-read", local_links)
    app.add_lexer("promql", TextLexer)
    app.add_lexer("pbtxt", ProtoBufLexer)
