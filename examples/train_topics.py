"""Trains the `topics` example: which part of Python's standard library a sentence is about.

    pip install 'inferd[examples]'
    python examples/train_topics.py

What it learns from is the documentation of the Python that runs it: the sentences of docstrings, each of which has the topic of its
module. Every sixth docstring is kept back, for the accuracy that is printed here. A small WordPiece tokenizer is trained on the rest, and
a logistic regression on the tokens of each sentence. The graph computes that: a row of weights for each token, and their mean. Which of
two tokens as frequent gets into the vocabulary is chance, so no two runs write quite the same. Writes

    examples/raw/topics/1/tokenizer.json    text -> tokens
    examples/raw/topics/1/model.onnx        input_ids, attention_mask INT64[rows, tokens] -> logits FP32[rows, topics]
    examples/raw/topics/labels.txt          the topics
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

MODEL = Path(__file__).resolve().parent / "raw" / "topics"
LIBRARY = Path(sysconfig.get_path("stdlib"))
TOPICS = {
    "dates": ["calendar", "datetime", "sched", "time", "zoneinfo"],
    "files": ["filecmp", "fileinput", "fnmatch", "glob", "os", "pathlib", "posixpath", "shutil", "tarfile", "tempfile", "zipfile"],
    "networks": [
        "email",
        "ftplib",
        "http",
        "imaplib",
        "ipaddress",
        "poplib",
        "smtplib",
        "socket",
        "socketserver",
        "ssl",
        "urllib",
        "xmlrpc",
    ],
    "threads": ["_thread", "asyncio", "concurrent", "multiprocessing", "queue", "subprocess", "threading"],
    "numbers": ["_pydecimal", "cmath", "fractions", "math", "random", "statistics"],
    "texts": ["codecs", "difflib", "encodings", "gettext", "html", "locale", "re", "string", "textwrap", "unicodedata"],
    "data formats": ["base64", "configparser", "csv", "json", "pickle", "plistlib", "struct", "tomllib", "xml"],
    "windows": ["curses", "tkinter", "turtle"],
}
TOKENS = 3000
KEPT_BACK = 6


def docstrings(module: str) -> Iterator[str]:
    """Of all that a module holds: from its source, or from itself where that is C."""
    place = LIBRARY / module
    sources = sorted(place.rglob("*.py")) or [place.with_suffix(".py")]
    if not sources[0].exists():
        for _, member in inspect.getmembers(importlib.import_module(module), callable):
            yield from filter(None, [inspect.getdoc(member)])
        return
    for source in sources:
        for node in ast.walk(ast.parse(source.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from filter(None, [ast.get_docstring(node)])


def sentences(text: str) -> Iterator[str]:
    """Without code and tables, which are indented or begin with >>>."""
    for paragraph in re.split(r"\n\s*\n", text):
        if not re.match(r"\s{2,}|>>>", paragraph):
            for sentence in re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split())):
                if 3 <= len(re.findall("[A-Za-z]{2,}", sentence)) <= 40:
                    yield sentence


def learned(kept_back: bool) -> tuple[list[str], list[int]]:
    """Sentences and their topics, of the docstrings that are kept back or of all others. A sentence of two topics has none."""
    found: dict[str, set[int]] = {}
    for topic, modules in enumerate(TOPICS.values()):
        texts = dict.fromkeys(text for module in modules for text in docstrings(module))
        for number, text in enumerate(texts):
            if (number % KEPT_BACK == 0) == kept_back:
                for sentence in sentences(text):
                    found.setdefault(sentence, set()).add(topic)
    single = {sentence: topics.pop() for sentence, topics in found.items() if len(topics) == 1}
    return list(single), list(single.values())


def tokenizer_of(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=TOKENS, min_frequency=3, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def shares(tokenizer: Tokenizer, texts: list[str]) -> Any:
    """[texts, tokens], sparse: the share that each token has of a text."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    ends = np.cumsum([0, *map(len, rows)])
    values = np.repeat([1 / max(len(row), 1) for row in rows], np.diff(ends))
    return sparse.csr_array((values, np.concatenate(rows), ends), shape=(len(texts), TOKENS))


def graph_of(weights: Any, bias: Any) -> onnx.ModelProto:
    """The mean of the tokens' rows of `weights` [tokens, topics], and `bias`. Padding counts for nothing."""
    nodes: list[Any] = [
        helper.make_node("Gather", ["weights", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["there", "last"], ["mask"]),
        helper.make_node("Mul", ["rows", "mask"], ["real"]),
        helper.make_node("ReduceSum", ["real", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Add", ["mean", "bias"], ["logits"]),
    ]
    constants: dict[str, Any] = {"weights": np.float32(weights), "bias": np.float32(bias)}
    constants |= {"last": np.array([2]), "tokens": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "topics",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "length"]) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(TOPICS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="inferd examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    texts, topics = learned(kept_back=False)
    unseen, theirs = learned(kept_back=True)
    tokenizer = tokenizer_of(texts)
    regression = LogisticRegression(C=30, max_iter=1000, class_weight="balanced").fit(shares(tokenizer, texts), topics)
    accuracy = regression.score(shares(tokenizer, unseen), theirs)

    path = MODEL / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph_of(regression.coef_.T, regression.intercept_), path)
    tokenizer.save(str(path.with_name("tokenizer.json")))
    (MODEL / "labels.txt").write_text("".join(f"{topic}\n" for topic in TOPICS), encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes, {accuracy:.1%} of {len(unseen)} sentences of unseen docstrings right")


if __name__ == "__main__":
    main()
