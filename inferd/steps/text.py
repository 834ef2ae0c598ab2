"""Text: UTF-8 -> the token ids that a graph takes, with their mask and token types, by Hugging Face's tokenizers and its tokenizer.json.

One call encodes the texts of many requests, without the GIL and on one thread. Preprocess threads run in parallel, as many as the model's
plan has. The library's own pool is off, for no limit counts its threads, and a forked child lacks them. TOKENIZERS_PARALLELISM turns it
off: this module sets it to false unless it is set.

Each request's arrays are as long as its own longest row. The one importer of `tokenizers`. Never in here: batches of a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from inferd.errors import ConfigError, InvalidArgument, RequestError
from inferd.steps.pipeline import Array, Check, Content, EntryPlace, InputPipeline, PadAxis, TensorType, Value, Wrong, detached, wrong_row

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from inferd.protocol.options import Preprocess, Tokenize

DEFAULT_MAX_TOKENS = 512
MAX_TEXT_BYTES = 64 << 10  # of one text: 15 to 50 ms of work. Longer ones are rejected: their first tokens may depend on all of them
MAX_TEXT_BYTES_A_TOKEN = 16  # texts may be so long where max_tokens is large
CALL_BYTES = 256 << 10  # of text in one call of the library: between calls, requests that nobody waits for are left out
TOGETHER_REQUESTS = 64

_DTYPES: dict[str, np.dtype[Any]] = {"INT64": np.dtype(np.int64), "INT32": np.dtype(np.int32)}
_PARTS = ("input_ids", "attention_mask", "token_type_ids")  # of Tokenize: fields that name an input, and the names by default
_PAD_TOKENS = ("[PAD]", "<pad>", "<PAD>", "<|padding|>", "<|endoftext|>")


class Text(NamedTuple):
    """A row that waits for the next call."""

    request: int  # its place in the call of prepare
    row: int
    text: str


class FedInput(NamedTuple):
    """An input of the graph that is fed."""

    part: str  # one of _PARTS
    name: str
    dtype: np.dtype[Any]
    pad: int


class EncodedRow(NamedTuple):
    """A row that is encoded."""

    ids: Array  # [tokens]
    types: Array | None  # None: all 0, or not wanted


class TextPipeline(InputPipeline):
    """See InputPipeline. `added`: tokens that every text has and are none of its own. `length`: of the graph's axis of tokens; None where
    it is free. `left`: rows stand at its end, among those of their own request, too."""

    together = TOGETHER_REQUESTS
    content = Content.TEXT

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        parts: Sequence[FedInput],
        outputs: tuple[tuple[str, TensorType], ...],
        paddings: Mapping[str, PadAxis],
        *,
        max_tokens: int,
        added: int,
        length: int | None,
        left: bool,
    ) -> None:
        self.inputs = ((name, TensorType("BYTES", (1,))),)
        self.outputs = outputs
        self.paddings = paddings
        self._name = name
        self._tokenizer = tokenizer
        self._parts = tuple(parts)
        self._typed = any(part.part == "token_type_ids" for part in parts)
        self._max_tokens = max_tokens
        self._added = added
        self._max_bytes = max(MAX_TEXT_BYTES, max_tokens * MAX_TEXT_BYTES_A_TOKEN)
        self._length = length
        self._left = left

    def prepare(self, requests: Sequence[Sequence[Value]], check: Check) -> list[list[Array] | RequestError]:
        errors: dict[int, RequestError] = {}
        rows: list[list[EncodedRow]] = [[] for _ in requests]
        for texts in self._calls(requests, errors):
            self._encode(texts, check, rows, errors)
        return [errors[place] if place in errors else self._arrays(found) for place, found in enumerate(rows)]

    def _calls(self, requests: Sequence[Sequence[Value]], errors: dict[int, RequestError]) -> Iterator[list[Text]]:
        """The rows of all requests in order, in portions of CALL_BYTES. A request that has an error gives no more."""
        call: list[Text] = []
        left_bytes = CALL_BYTES
        for place, values in enumerate(requests):
            for row, view in enumerate(cast("list[memoryview]", values[0])):
                if place in errors:
                    break
                try:
                    text = self._text(row, view)
                except InvalidArgument as error:
                    errors[place] = detached(error)
                    break
                if call and len(view) > left_bytes:
                    yield call
                    call, left_bytes = [], CALL_BYTES
                call.append(Text(place, row, text))
                left_bytes -= len(view)
        if call:
            yield call

    def _text(self, row: int, view: memoryview) -> str:
        if len(view) > self._max_bytes:
            used = f"of which {self._max_tokens} tokens are used" if self._tokenizer.truncation else "in rows of its own"
            why = f"expected at most {self._max_bytes} bytes of text, got {len(view)}: send a part of it, {used}"
            raise wrong_row(self._name, row, why)
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError as error:
            why = f"expected text in UTF-8, got byte 0x{view[error.start]:02x} at position {error.start}: encode the text as UTF-8"
            raise wrong_row(self._name, row, why) from None

    def _encode(self, texts: Sequence[Text], check: Check, rows: list[list[EncodedRow]], errors: dict[int, RequestError]) -> None:
        """One call: what is still wanted and good goes to `rows`."""
        for place in {text.request: None for text in texts}:
            if place not in errors:
                try:
                    check(place)
                except RequestError as error:
                    errors[place] = detached(error)
        good = [text for text in texts if text.request not in errors]
        for (place, row, _), encoding in zip(good, self._encodings([text.text for text in good]), strict=True):
            if place in errors:
                continue
            try:
                rows[place].append(self._row(row, encoding))
            except InvalidArgument as error:
                errors[place] = detached(error)

    def _encodings(self, texts: list[str]) -> list[Encoding] | list[Encoding | None]:
        """The encodings of all texts; None for a text that the tokenizer fails on, which does not affect the others."""
        found = self._try(texts)
        return found if found is not None else [one[0] if one else None for one in (self._try([text]) for text in texts)]

    def _try(self, texts: list[str]) -> list[Encoding] | None:
        if not texts:
            return []
        try:
            return self._tokenizer.encode_batch_fast(texts)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException:  # the library's own panic is no Exception
            return None

    def _row(self, row: int, encoding: Encoding | None) -> EncodedRow:
        if encoding is None:
            raise wrong_row(self._name, row, "the tokenizer cannot encode this text: leave out what is unusual in it")
        ids = encoding.ids
        count = len(ids)
        if count <= self._added:
            raise wrong_row(self._name, row, "expected text, got one without any token of its own: send at least one word")
        if count > self._max_tokens:
            raise wrong_row(self._name, row, f"expected at most {self._max_tokens} tokens, got {count}: send a shorter text")
        types = encoding.type_ids if self._typed else None
        return EncodedRow(np.fromiter(ids, np.int64, count), np.fromiter(types, np.int64, count) if types and any(types) else None)

    def _arrays(self, rows: Sequence[EncodedRow]) -> list[Array]:
        """One request's rows, padded among themselves."""
        counts = [len(row.ids) for row in rows]
        longest = self._length or max(counts, default=1)
        spans = [slice(longest - count, longest) if self._left else slice(count) for count in counts]
        arrays: list[Array] = []
        for part, _, dtype, pad in self._parts:
            array: Array = np.full((len(rows), longest), pad, dtype)
            for line, row, span in zip(array, rows, spans, strict=True):
                if part == "input_ids":
                    line[span] = row.ids
                elif part == "attention_mask":
                    line[span] = 1
                else:
                    line[span] = 0 if row.types is None else row.types
            arrays.append(array)
        return arrays


def compile_text(entry: Preprocess, place: EntryPlace) -> InputPipeline:
    """An entry whose only step is tokenize -> its pipeline. Raises ConfigError."""
    kinds = [step.WhichOneof("step") or "" for step in entry.steps]
    if kinds[0] != "tokenize":
        raise place.wrong(0, kinds[0], "text begins with tokenize")
    if len(kinds) > 1:
        raise place.wrong(1, kinds[1], "nothing can follow tokenize, which feeds the graph by itself: remove it")
    if entry.input:
        raise ConfigError(f"{place.where}: input is {entry.input!r}; tokenize feeds several inputs: leave it out, or set its `input_ids`")
    step = entry.steps[0].tokenize

    def wrong(why: str) -> ConfigError:
        return place.wrong(0, "tokenize", why)

    fed = _fed(step, place, wrong)
    length = _length(fed, wrong)
    file = step.file or "tokenizer.json"
    tokenizer = _load(str(place.file(0, "tokenize", file)), file, wrong)
    max_tokens = step.max_tokens = _limit(tokenizer, step, length, wrong)  # the response of the ModelConfig RPC says it
    buckets = _buckets(step, max_tokens, length, wrong)
    pads, left = _padding(tokenizer)
    parts = [FedInput(part, name, _DTYPES[kind.datatype], pads[part]) for part, (name, kind) in fed.items()]
    return TextPipeline(
        entry.name or "text",
        tokenizer,
        parts,
        tuple((name, TensorType(kind.datatype, (length or -1,))) for name, kind in fed.values()),
        {} if length else {part.name: PadAxis(0, part.pad, buckets, left) for part in parts},
        max_tokens=max_tokens,
        added=_added(tokenizer),
        length=length,
        left=left,
    )


def _fed(step: Tokenize, place: EntryPlace, wrong: Wrong) -> dict[str, tuple[str, TensorType]]:
    """By part: the graph's input and what it takes."""
    free = place.free
    fed: dict[str, tuple[str, TensorType]] = {}
    for part in _PARTS:
        named = getattr(step, part)
        name = named or part
        if name in free:
            fed[part] = name, free[name]
        elif named or part == "input_ids":
            raise wrong(f"{part}: {place.not_free(name)}")
    names = [name for name, _ in fed.values()]
    for name, kind in fed.values():
        if names.count(name) > 1:
            raise wrong(f"{name!r} is named for two of {', '.join(_PARTS)}: name another for one of them")
        if kind.datatype not in _DTYPES or len(kind.shape) != 1:
            raise wrong(f"{name!r} takes {kind}; it must take INT64 or INT32 of one size, the number of tokens: export the graph so")
    for name, kind in free.items():
        if name not in names and name.endswith(("_ids", "_mask")) and kind.datatype in _DTYPES and len(kind.shape) == 1:
            raise wrong(f"nothing feeds the graph's input {name!r} {kind}: name it for one of {', '.join(_PARTS)}, or export without it")
    return fed


def _length(fed: Mapping[str, tuple[str, TensorType]], wrong: Wrong) -> int | None:
    """The size of the graph's axis of tokens; None where it is free."""
    sizes = {kind.shape[0] for _, kind in fed.values()} - {-1}
    if len(sizes) > 1:
        shown = ", ".join(f"{name!r} {kind}" for name, kind in fed.values())
        raise wrong(f"the inputs that it feeds must have the same size, and are {shown}: export the graph so")
    return sizes.pop() if sizes else None


def _load(path: str, file: str, wrong: Wrong) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise wrong("it needs the package tokenizers: pip install 'inferd[text]'") from None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # read at each call
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises nothing more special
        said = " ".join(str(error).split())
        raise wrong(f"file {file!r} is not what Hugging Face's tokenizers writes ({said:.200}): save the tokenizer anew") from None
    return tokenizer


def _limit(tokenizer: Tokenizer, step: Tokenize, length: int | None, wrong: Wrong) -> int:
    """The most tokens of a row; sets the tokenizer to cut there, or not to cut."""
    written = tokenizer.truncation or {}
    if length is not None and step.max_tokens > length:
        raise wrong(f"max_tokens is {step.max_tokens}, and the graph takes {length} tokens: set it to {length}, or leave it out")
    max_tokens: int = step.max_tokens or min(written.get("max_length", DEFAULT_MAX_TOKENS), length or 1 << 32)
    added = _added(tokenizer)
    if max_tokens <= added:
        raise wrong(f"max_tokens is {max_tokens}, of which the tokenizer's own are {added}: set it to {added + 1} or more")
    if step.HasField("truncate") and not step.truncate:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens, direction=written.get("direction", "right"))
    return max_tokens


def _added(tokenizer: Tokenizer) -> int:
    """How many tokens every text has that are none of its own."""
    return tokenizer.num_special_tokens_to_add(is_pair=False)


def _buckets(step: Tokenize, max_tokens: int, length: int | None, wrong: Wrong) -> tuple[int, ...]:
    """Sizes that are padded to, up to max_tokens, so that there is one for every row; empty for none."""
    buckets = tuple(step.buckets)
    if not buckets:
        return ()
    if length is not None:
        raise wrong(f"buckets: the graph takes {length} tokens, always: leave them out")
    if buckets[0] < 1 or any(one >= other for one, other in pairwise(buckets)):
        raise wrong(f"buckets are {list(buckets)}; they must be rising, from 1 on")
    if buckets[-1] > max_tokens:
        raise wrong(f"buckets: {buckets[-1]} is more than max_tokens, {max_tokens}: leave it out, or raise max_tokens")
    return buckets if buckets[-1] == max_tokens else (*buckets, max_tokens)


def _padding(tokenizer: Tokenizer) -> tuple[dict[str, int], bool]:
    """The padding value of each part, and whether the file pads on the left. Turns the tokenizer's own padding off."""
    written = tokenizer.padding or {}
    known = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    pad_id = written["pad_id"] if written else next((number for number in known if number is not None), 0)
    tokenizer.no_padding()
    pads = {"input_ids": pad_id, "attention_mask": 0, "token_type_ids": written.get("pad_type_id", 0)}
    return pads, written.get("direction") == "left"
