"""Are comments and docstrings easy to read? It checks the code of `inferd/` and of the Python SDK, and nothing that a program wrote.

    python scripts/check_comments.py [FILE_OR_FOLDER ...]

A sentence has at most 25 words. None begins with a bare "Who", "Whom", "Whose", "Of" or "What", and none has a word of WORDS. Indented
examples and tables do not count; `code` in a sentence is one word.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, NamedTuple

from check_docs import RIDDLE, ROOT, sentences, words

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = [ROOT / "inferd", ROOT / "clients/python"]
SUFFIXES = (".py", ".pyx", ".pxd", ".pyi")
GENERATED = re.compile(r"/protocol/.*\.pyi$|/messages\.pyi$|/_version\.py$")
MAX_WORDS = 25
# Each with the words to use in its place.
WORDS = {
    r"(un)?answer(s|ed|ing)?": "respond, response, serve or return",
    r"refus(e|es|ed|ing|als?)": "reject or rejection",
    r"turn(s|ed|ing)? away": "reject",
    r"but for": "except",
}

UNWANTED = [(re.compile(rf"\b({pattern})\b", re.IGNORECASE), instead) for pattern, instead in WORDS.items()]
# A docstring begins a line. Other strings are found so that a "#" in them is no comment.
TOKEN = re.compile(
    r'^(?P<indent>[ \t]*)[rR]?"""(?P<docstring>(?:[^\\]|\\.)*?)"""[ \t]*$|#(?P<comment>[^\n]*)'
    r'|""".*?"""|"(?:[^"\\\n]|\\.)*"'
    r"|'''.*?'''|'(?:[^'\\\n]|\\.)*'",
    re.MULTILINE | re.DOTALL,
)
PRAGMA = re.compile(r"!|\s*(?:type:|noqa|fmt:|distutils:|cython:|no-cython-lint)")
ITEM = re.compile(r"(?:[-*]|\d+\.) |(?=`?\w+`?(?:, `?\w+`?)*: )")  # of a list, or `name: its meaning`
EXAMPLE = re.compile(r" {2}|\||>>>")
CODE = re.compile(r"`[^`\n]*`|https?://\S+")


class Text(NamedTuple):
    line: int
    text: str


def texts(source: str) -> Iterator[Text]:
    """Docstrings, and comments. Comments of lines that follow each other at one column are one text."""
    block, expected = Text(0, ""), (0, "")
    for match in TOKEN.finditer(source):
        above, _, indent = source[: match.start()].rpartition("\n")
        line = source.count("\n", 0, match.start()) + 1
        if match["docstring"] is not None:
            if not above.endswith("extern from *:"):  # else it is C
                yield Text(line, dedent(match["indent"] + match["docstring"]))
        elif match["comment"] is not None and not PRAGMA.match(match["comment"]):
            if (line, indent) == expected:
                block = Text(block.line, f"{block.text}\n{match['comment']}")
            else:
                yield block
                block = Text(line, match["comment"])
            expected = (line + 1, " " * len(indent))
    yield block


def paragraphs(text: Text) -> Iterator[Text]:
    """Prose, without examples and tables. An item of a list is a paragraph."""
    prose: list[str] = []
    first, in_item, in_commands = text.line, False, False
    for line, shown in enumerate(text.text.split("\n"), text.line):
        content = shown.removeprefix(" ")
        item = ITEM.match(content)
        in_commands = bool(content) and (in_commands or content == "\\b")  # click shows these lines as they are
        prosaic = bool(content.strip()) and not in_commands and (in_item or not EXAMPLE.match(content))
        if item or not prosaic:
            yield Text(first, " ".join(prose))
            prose, first = [], line if prosaic else line + 1
        in_item = bool(item) or (in_item and prosaic)
        if prosaic:
            prose.append(content[item.end() if item else 0 :].strip())
    yield Text(first, " ".join(prose))


def faults(name: str, source: str) -> Iterator[str]:
    """Each with its place, what was expected and what stands there."""
    for line, paragraph in (found for text in texts(source) for found in paragraphs(text)):
        for sentence in sentences(CODE.sub("Code", paragraph)):
            start = f"{sentence[:60]}..."
            if words(sentence) > MAX_WORDS:
                yield f"{name}:{line}: a sentence of {words(sentence)} words, expected at most {MAX_WORDS}: {start}"
            if RIDDLE.match(sentence):
                yield f"{name}:{line}: a sentence that begins with a bare {sentence.split()[0]!r}, name the actor: {start}"
            for pattern, instead in UNWANTED:
                yield from (f"{name}:{line}: the word {match[0]!r}, expected {instead}: {start}" for match in pattern.finditer(sentence))


def main() -> int:
    roots = [Path(argument).resolve() for argument in sys.argv[1:]] or FOLDERS
    paths = [path for root in roots for path in sorted(root.rglob("*") if root.is_dir() else [root]) if path.suffix in SUFFIXES]
    read = [path for path in paths if not GENERATED.search(path.as_posix())]
    found = [fault for path in read for fault in faults(os.path.relpath(path, ROOT), path.read_text("utf-8"))]
    print("\n".join(found) or f"the comments of {len(read)} files are easy to read")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
