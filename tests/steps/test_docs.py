"""docs/preprocessing.md: every step, parameter and choice of steps.proto stands on it, and every example is a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inferd.engine.configuration.model_config import read_model_config
from inferd.protocol import options

PAGE = (Path(__file__).parents[2] / "docs" / "preprocessing.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```(toml|pbtxt)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ROOTS = (options.Preprocess, options.Postprocess, options.Padding)


def messages(descriptor: Any, seen: dict[str, Any]) -> dict[str, Any]:
    """A message and all that its fields hold, by name."""
    if descriptor.name not in seen:
        seen[descriptor.name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                messages(field.message_type, seen)
    return seen


def words() -> Iterator[str]:
    found: dict[str, Any] = {}
    for root in ROOTS:
        messages(root.DESCRIPTOR, found)
    for message in found.values():
        for field in message.fields:
            yield field.name
            if field.enum_type is not None:
                yield from field.enum_type.values_by_name


def test_the_words_are_those_of_the_proto() -> None:
    assert {"decode_image", "ignore_orientation", "BICUBIC", "detect_boxes", "tolerance", "CORNERS_SCORE_CLASS", "WEEKDAY"} <= set(words())


def test_every_word_is_on_the_page() -> None:
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert not [word for word in sorted(set(words())) if f"`{word}`" not in prose]


def test_every_step_is_a_row_of_a_table() -> None:
    steps = [field.name for message in (options.Step, options.OutputStep) for field in message.DESCRIPTOR.fields]
    assert not [step for step in steps if not re.search(rf"^\| `{step}` \|.*\|.*\|$", PAGE, re.MULTILINE)]


@pytest.mark.parametrize("number", range(0, len(EXAMPLES), 2))
def test_examples_are_the_same_configuration_in_both_formats(number: int, tmp_path: Path) -> None:
    read = []
    for language, text in EXAMPLES[number : number + 2]:
        folder = tmp_path / language
        folder.mkdir()
        (folder / f"config.{language}").write_text(text)
        read.append(read_model_config(folder, "m").config)
    assert [language for language, _ in EXAMPLES[number : number + 2]] == ["toml", "pbtxt"]
    assert read[0] == read[1]
    assert read[0].inferd.ByteSize() > 0
