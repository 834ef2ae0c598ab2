"""MiniLM, a text in and its embedding out: sentences a second through an Engine, beside a loop without a server.

    python benchmarks/text_cost.py [--models build/models] [--texts 400] [--in-flight 128] [--instances N] [--rounds 5] [--no-history]

The texts are the sentences of Python's own reference, as pydoc has it, and then its paragraphs, longer and less alike. The loop is what
one writes first: tokenize a text, run it, pool and normalise with numpy, take the next one; on all cores, by the same libraries and
the same file; once as ONNX Runtime does it, once with threads that do not spin, which is faster where the cores are busy. Rounds are
interleaved, the figure is the median of their ratios to the faster loop, and each answer of each round is held against a loop's.
One line is appended to benchmarks/history/text_cost.jsonl. The model is fetched by examples/fetch_models.py where it is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import dev_packages  # noqa: F401
import numpy as np
import onnxruntime
from record import ROOT, Report, append
from tokenizers import Tokenizer

from inferd import Engine

HISTORY = Path(__file__).resolve().parent / "history" / "text_cost.jsonl"
MAX_TOKENS = 256  # as in the model's config.toml
ASKED_RATIO, ASKED_COSINE = 1.5, 0.9999
Array = np.ndarray[Any, np.dtype[Any]]


def sentences(count: int) -> list[str]:
    """Of the prose, in an order that is always the same."""
    found = [part for block in blocks() for part in re.split(r"(?<=[.:;]) ", block) if len(part) > 10]
    return shuffled(list(dict.fromkeys(found)))[:count]


def paragraphs(count: int) -> list[str]:
    """Of the same, whole: some are many times as long as others."""
    return shuffled(blocks())[:count]


def blocks() -> list[str]:
    """What begins with a letter is prose; the rest is grammar and code."""
    parts = (" ".join(part.split()) for text in topics.values() for part in text.split("\n\n"))
    return list(dict.fromkeys(part for part in parts if part[:1].isalpha() and len(part) > 20))


def shuffled(texts: list[str]) -> list[str]:
    return [texts[place] for place in np.random.default_rng(0).permutation(len(texts))]


class Loop:
    """One text after the other, in this process."""

    def __init__(self, folder: Path, *, spinning: bool) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self.session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])

    def embed(self, text: str) -> Array:
        encoding = self.tokenizer.encode(text)
        mask = np.array([encoding.attention_mask])
        inputs = {"input_ids": np.array([encoding.ids]), "attention_mask": mask, "token_type_ids": np.array([encoding.type_ids])}
        (states,) = self.session.run(["last_hidden_state"], inputs)
        mean = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        embedding: Array = (mean / np.linalg.norm(mean, axis=1, keepdims=True))[0]
        return embedding

    def round(self, texts: list[str]) -> tuple[float, list[Array]]:
        started_s = time.perf_counter()
        found = [self.embed(text) for text in texts]
        return time.perf_counter() - started_s, found

    def token_counts(self, texts: list[str]) -> list[int]:
        return sorted(len(self.tokenizer.encode(text).ids) for text in texts)


async def served(engine: Engine, texts: list[str], in_flight: int) -> tuple[float, list[Array]]:
    """All texts, each a request of its own, so many of them at a time."""
    found: list[Array] = [np.empty(0)] * len(texts)
    waiting = iter(range(len(texts)))

    async def client() -> None:
        for place in waiting:
            answer = await engine.infer_async("minilm", {"text": [[texts[place]]]})
            found[place] = answer["embedding"][0]

    started_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    return time.perf_counter() - started_s, found


def least_cosine(ones: list[Array], others: list[Array]) -> float:
    return min(float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for one, other in zip(ones, others, strict=True))


def measure(report: Report, folder: Path, samples: dict[str, list[str]], in_flight: int, instances: int) -> None:
    loops = {"loop": Loop(folder, spinning=True), "loop, no spinning": Loop(folder, spinning=False)}
    with Engine(folder, instances=instances) as engine:
        for name, texts in samples.items():
            compare(report, name, texts, loops, engine, in_flight)


def compare(report: Report, name: str, texts: list[str], loops: dict[str, Loop], engine: Engine, in_flight: int) -> None:
    counts = loops["loop"].token_counts(texts)
    middle, mean = counts[len(counts) // 2], sum(counts) / len(counts)
    shown = f"{len(texts)} of {counts[0]} to {counts[-1]} tokens, median {middle}, mean {mean:.0f}; {in_flight} in flight"
    report.add(f"MiniLM, {name}", "", shown)
    asyncio.run(served(engine, texts, in_flight))
    rates: dict[str, list[float]] = {name: [] for name in ("engine", *loops)}
    cosines: list[float] = []
    for _ in range(report.rounds):
        engine_s, found = asyncio.run(served(engine, texts, in_flight))
        rates["engine"].append(len(texts) / engine_s)
        for who, loop in loops.items():
            loop.round(texts[:20])
            loop_s, expected = loop.round(texts)
            rates[who].append(len(texts) / loop_s)
            cosines.append(least_cosine(found, expected))
    for who, each in rates.items():
        report.add(f"{name}, {who}", "", f"{statistics.median(each):.1f} a second")
    ratio = statistics.median(engine / max(others) for engine, *others in zip(*rates.values(), strict=True))
    asked = name == "sentences"
    report.add(
        f"{name}: against one by one", f">= {ASKED_RATIO}" if asked else "reported", f"{ratio:.2f}", ratio >= ASKED_RATIO if asked else None
    )
    report.add(f"{name}: least cosine to one by one", f">= {ASKED_COSINE}", f"{min(cosines):.7f}", min(cosines) >= ASKED_COSINE)
    report.numbers[name] = {f"{who}_texts_s": round(statistics.median(each), 2) for who, each in rates.items()}
    report.numbers[name] |= {"ratio": round(ratio, 3), "least_cosine": min(cosines), "mean_tokens": round(mean, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "models", help="the repository that holds minilm, or gets it")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--instances", type=int, default=0, help="of the model; default: as the server plans")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-history", action="store_true")
    arguments = parser.parse_args()
    subprocess.run([sys.executable, ROOT / "examples" / "fetch_models.py", arguments.models, "minilm"], check=True)
    report = Report(arguments.rounds, 0.0)
    samples = {"sentences": sentences(arguments.texts), "paragraphs": paragraphs(arguments.texts // 4)}
    measure(report, arguments.models / "minilm", samples, arguments.in_flight, arguments.instances)
    print(report.table())
    if not arguments.no_history:
        settings = {
            "texts": arguments.texts,
            "in_flight": arguments.in_flight,
            "instances": arguments.instances,
            "rounds": arguments.rounds,
        }
        append(HISTORY, report, settings, {})


if __name__ == "__main__":
    main()
