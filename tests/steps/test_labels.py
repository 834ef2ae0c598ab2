"""Files of labels: how lines end, and every file that is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.errors import ConfigError
from inferd.steps.labels import MAX_LABELS_BYTES, read_labels


def read(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return list(read_labels(path, ConfigError).tolist())


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"cat\ndog\n", ["cat", "dog"]),
        (b"cat\ndog", ["cat", "dog"]),
        (b"cat\r\ndog\r\n", ["cat", "dog"]),
        (b"\xef\xbb\xbfcat\n", ["cat"]),
        (b"cat\n\ndog\n\n", ["cat", "", "dog", ""]),
        (b" tabby cat, 281\t\n", [" tabby cat, 281\t"]),
        ("Käse\u2028Brot\x0bx\n猫\n".encode(), ["Käse\u2028Brot\x0bx", "猫"]),
        (b"\n", [""]),
    ],
)
def test_a_label_a_line(content: bytes, labels: list[str], tmp_path: Path) -> None:
    assert read(tmp_path / "labels.txt", content) == labels


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\ufeff")), min_size=1))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "written.txt"
    assert read(path, "".join(f"{label}\n" for label in labels).encode()) == labels


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "labels 'x.txt' is empty: write a label a line"),
        (b"\xef\xbb\xbf", "labels 'x.txt' is empty"),
        (b"one\ntwo\nthr\xe9e\n", "labels 'x.txt', line 3: not UTF-8 text: save the file as UTF-8"),
        (b"\n" * (MAX_LABELS_BYTES + 1), f"labels 'x.txt' has more than {MAX_LABELS_BYTES} bytes"),
    ],
)
def test_what_is_no_file_of_labels(content: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=why):
        read(tmp_path / "x.txt", content)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels 'gone\.txt' cannot be read: No such file"):
        read_labels(tmp_path / "gone.txt", ConfigError)
    os.mkdir(tmp_path / "folder.txt")
    with pytest.raises(ConfigError, match=r"labels 'folder\.txt' cannot be read"):
        read_labels(tmp_path / "folder.txt", ConfigError)
