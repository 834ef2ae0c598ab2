"""Are the pages easy to read? `make lint` runs this on every page that a user or developer reads.

    python scripts/check_docs.py [FILE.md ...]

A sentence has at most 35 words and 18 on average over a page; a table cell has at most 120 characters. No sentence begins with a
bare "Who", "Whom", "Whose", "Of" or "What". Code blocks and generated tables do not count; `code` in a sentence is one word.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/*.md", "examples/README.md", "clients/python/README.md"]
MAX_WORDS, MAX_MEAN, MAX_CELL = 35, 18, 120

GENERATED = re.compile(r"^<!-- written by .*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^:::.*$", re.MULTILINE)
SENTENCE_END = re.compile(r"(?<=[.!?])[)\"']*\s+")
RIDDLE = re.compile(r"(?:Whom?|Whose|Of|What)\b.*[^?]$")


class Text(NamedTuple):
    """One paragraph, list item or table cell as the reader sees it."""

    line: int
    shown: str
    cell: bool


def texts(page: str) -> Iterator[Text]:
    """Everything on a page but headings, code blocks and what a program wrote."""
    hidden = GENERATED.sub(lambda match: "\n" * match[0].count("\n"), page)
    tokens = MarkdownIt("commonmark").enable("table").parse(DIRECTIVE.sub("", hidden))
    opened, line = "", 0
    for token in tokens:
        if token.nesting == 1:
            opened, line = token.type, token.map[0] + 1 if token.map else line
        elif token.type == "inline" and opened != "heading_open":
            cell = opened in ("th_open", "td_open")
            yield Text(line, shown(token, whole=cell), cell)


def shown(inline: Token, *, whole: bool) -> str:
    """The words of an inline token. Code is itself where `whole`, else one word."""
    parts = []
    for child in inline.children or []:
        if child.type == "text":
            parts.append(child.content)
        elif child.type == "code_inline":
            parts.append(child.content if whole else "Code")
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return "".join(parts).strip()


def sentences(paragraph: str) -> list[str]:
    return [sentence for sentence in SENTENCE_END.split(paragraph) if re.search(r"\w", sentence)]


def words(sentence: str) -> int:
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


def faults(name: str, page: str) -> Iterator[str]:
    """Each with its place, what was expected and what stands there."""
    counts = []
    for line, paragraph, cell in texts(page):
        if cell:
            if len(paragraph) > MAX_CELL:
                yield f"{name}:{line}: a table cell of {len(paragraph)} characters, expected at most {MAX_CELL}: {paragraph[:60]}..."
            continue
        for sentence in sentences(paragraph):
            counts.append(words(sentence))
            if counts[-1] > MAX_WORDS:
                yield f"{name}:{line}: a sentence of {counts[-1]} words, expected at most {MAX_WORDS}: {sentence[:60]}..."
            if RIDDLE.match(sentence):
                yield f"{name}:{line}: a sentence that begins with a bare {sentence.split()[0]!r}, name the actor: {sentence[:60]}..."
    if counts and sum(counts) / len(counts) > MAX_MEAN:
        yield f"{name}: {sum(counts) / len(counts):.1f} words a sentence, expected at most {MAX_MEAN} on average"


def main() -> int:
    paths = [Path(argument).resolve() for argument in sys.argv[1:]] or [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    found = [fault for path in paths for fault in faults(os.path.relpath(path, ROOT), path.read_text("utf-8"))]
    print("\n".join(found) or f"{len(paths)} pages are easy to read")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
