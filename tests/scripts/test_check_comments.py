"""Faults that scripts/check_comments.py finds in comments and docstrings, and texts that it lets pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from check_comments import faults  # noqa: E402

LONG = " ".join(["word"] * 26)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""Who connects is served. Good."""', ["1: a sentence that begins with a bare 'Who'"]),
        ('def f():\n    """Returns rows.\n\n    What is left\n    stays."""', ["4: a sentence that begins with a bare 'What'"]),
        ("x = 1  # Of one row\n", ["1: a sentence that begins with a bare 'Of'"]),
        ("# Good.\n# Whose turn it is\n# goes first.\nx = 1\n", ["1: a sentence that begins with a bare 'Whose'"]),
        (f"# {LONG}", ["1: a sentence of 26 words"]),
        (f'"""Good.\n\n- Good.\n- {LONG}\n"""', ["4: a sentence of 26 words"]),
        (f'x = """#"""  # {LONG}\n', ["1: a sentence of 26 words"]),
        ("# It answers,\n# or refuses, all but for one.", ["1: the word 'answers'", "1: the word 'refuses'", "1: the word 'but for'"]),
        ("# Clients are turned away", ["1: the word 'turned away'"]),
        ("cdef int rows  # Unanswered ones\n", ["1: the word 'Unanswered'"]),
    ],
)
def test_what_is_hard_to_read_is_found(source: str, expected: list[str]) -> None:
    found = [fault.removeprefix("a.pyx:").split(",")[0] for fault in faults("a.pyx", source)]
    assert found == expected


@pytest.mark.parametrize(
    "source",
    [
        "# What is left?",
        "count: int  # of rows that wait",
        f"# {LONG.removesuffix(' word')}",
        f"x = '# {LONG}'\ny = \"# Who\"\nz = '''\n# What it was\n'''",
        f'"""A table and a command:\n\n    What {LONG}\n\n| answer | {LONG} |\n"""',
        f'"""Two commands:\n\n\\b\nserve {LONG}\nanswer\n"""',
        f"# `Server._answer {LONG}` runs it.",
        f'"""All of them:\n\nname: what {LONG[:60]}\nrows, size: {LONG[:60]}\n"""',
        "a = 1  # a field's meaning goes on to here, and this has no end\nb = 2  # the meaning of another field, as long as that is\n",
        f'cdef extern from *:\n    """\n    {LONG}\n    """\n',
        f"x = []  # type: list[{LONG}]",
    ],
)
def test_what_is_no_prose_or_easy_passes(source: str) -> None:
    assert list(faults("a.pyx", source)) == []


@pytest.mark.parametrize(("text", "status"), [("# It answers", 1), ("# It responds", 0)])
def test_folders_are_read_without_generated_files(tmp_path: Path, text: str, status: int) -> None:
    (tmp_path / "a.pxd").write_text(text)
    (tmp_path / "a.txt").write_text("# It answers")
    (tmp_path / "messages.pyi").write_text("# It answers")
    done = subprocess.run([sys.executable, ROOT / "scripts/check_comments.py", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (status, 1)
