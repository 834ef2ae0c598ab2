"""What is said by others is shown, and changes no terminal."""

from __future__ import annotations

import pytest

from inferd.cli.say import one_line, printable, say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢\nand more", "plain é 漢\nand more"),
        ("no\x1b[2J\x1b[31mHACK", "no [2J [31mHACK"),
        ("a\rb\x07c\x9bd\x7fe\tf", "a b c d e f"),
        ("right\u202eleft\u2028line", "right left line"),
        ("", ""),
    ],
)
def test_nothing_that_a_terminal_would_obey(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    say(text)
    say(text, err=True)
    assert capsys.readouterr() == (shown + "\n", shown + "\n")


def test_what_is_to_be_one_line_is() -> None:
    assert one_line("said\n  two  words\r\n\n of\u2028three\n") == "said two  words of three"
