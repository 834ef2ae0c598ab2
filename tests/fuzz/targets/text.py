"""Texts, tokenized: as the tokenizers library has each of them alone, or rejected with InvalidArgument.

Input: 1 byte for the tokenizer, and texts, each ended by a NUL.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from inferd.errors import InvalidArgument
from tests.steps.test_text import CORPUS, INT64, ODD, Alone, assert_equal, bert, byte_level, compiled, request_of, unwatched

MODULES = ()
LINES = ("inferd.steps.text",)
DICTIONARY = (b"[SEP]", b"[PAD]", b"[UNK]", b"\0", b"\xe2\x80\x8d", b"\xcc\x81", b"\xf0\x9f\x91\xa9", b"\xe5\x8c\x97", b"##", b" ")
MAX_TOKENS = 16
FOLDER = Path(tempfile.mkdtemp(prefix="inferd-fuzz-"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
bert().save(str(FOLDER / "bert.json"))
byte_level().save(str(FOLDER / "bytes.json"))
PIPELINES = (
    compiled(FOLDER, max_tokens=MAX_TOKENS),
    compiled(FOLDER, {"input_ids": INT64, "attention_mask": INT64}, file="bytes.json", max_tokens=MAX_TOKENS),
)
ORACLES = (Alone(FOLDER, MAX_TOKENS), Alone(FOLDER, MAX_TOKENS, "bytes.json"))


def check(data: bytes) -> None:
    if not data:
        return
    which = data[0] & 1
    texts = data[1:].split(b"\0")
    (found,) = PIPELINES[which].prepare([request_of(*texts)], unwatched)
    oracle = ORACLES[which]
    try:
        whole = [text.decode() for text in texts]
        fits = not any(oracle.empty(text) for text in whole)
    except UnicodeDecodeError:
        fits = False
    if isinstance(found, InvalidArgument):
        assert not fits, found
        assert len(str(found)) < 400
        return
    assert fits
    if which == 0:
        assert_equal(found, oracle.arrays(whole))


def seeds() -> list[bytes]:
    texts = [text.encode() for text in (*CORPUS, *ODD)]
    return [bytes([which]) + text for which in (0, 1) for text in (*texts, b"\0".join(texts[:4]), b"\xff", b"ab " * 300)]
