"""Datatypes, signatures and arrays: what a signature accepts is what the plain version accepts, every rejection says what to send."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.codec.infer import InferRequest, decode_infer_request
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import ConfigError, Internal, InvalidArgument, ResourceExhausted
from inferd.protocol import inference as pb

Spec = tuple[str, str, tuple[int, ...]]
Sent = tuple[str, str, tuple[int, ...], bytes]

FP32: Spec = ("x", "FP32", (-1, 16))
IDS: Spec = ("ids", "INT64", (-1, -1))
MASK: Spec = ("mask", "BOOL", (-1, -1))
TEXT: Spec = ("text", "BYTES", (-1, 2))
OUT: Spec = ("y", "FP32", (-1, 16))


def request_of(*tensors: Sent) -> InferRequest:
    request = pb.ModelInferRequest(model_name="m")
    for name, word, shape, raw in tensors:
        request.inputs.add(name=name, datatype=word, shape=shape)
        request.raw_input_contents.append(raw)
    return decode_infer_request(request.SerializeToString())


def signature_of(*inputs: Spec, max_batch_size: int = 8) -> Signature:
    return Signature("m", "1", inputs, [OUT], max_batch_size)


def elements(*texts: str | bytes) -> bytes:
    encoded = [text.encode() if isinstance(text, str) else text for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def rejected(signature: Signature, *tensors: Sent) -> str:
    with pytest.raises(InvalidArgument) as caught:
        request_of(*tensors).check(signature)
    return str(caught.value)


# ---- datatypes -----------------------------------------------------------------------------------------------------


def test_datatypes_are_numbered_as_in_model_config() -> None:
    named = {word: number for word, (number, _, _) in DATATYPES.items()}
    expected = {word.removeprefix("TYPE_").replace("STRING", "BYTES"): number for word, number in pb.DataType.items() if number}
    assert named == expected
    for word, (_, itemsize, dtype) in DATATYPES.items():
        assert itemsize == (0 if word == "BYTES" else dtype.itemsize)


# ---- signatures ----------------------------------------------------------------------------------------------------


def test_a_signature_shows_what_it_was_made_of() -> None:
    signature = Signature("modèle", "12", [FP32, IDS, TEXT], [OUT], 8)
    assert (signature.model_name, signature.model_version) == ("modèle".encode(), b"12")
    assert signature.input_names == ("x", "ids", "text")
    assert signature.output_names == ("y",)
    assert signature.input_specs == (FP32, IDS, TEXT)
    assert signature.output_specs == (OUT,)
    assert (signature.input_count, signature.output_count, signature.max_batch_size) == (3, 1, 8)


@pytest.mark.parametrize(
    ("inputs", "output", "max_batch_size", "fixed"),
    [
        ([FP32], OUT, 8, True),
        ([FP32, IDS], OUT, 8, False),
        ([FP32], ("y", "BYTES", (-1,)), 8, False),
        ([FP32], ("y", "FP32", (-1, -1)), 8, False),
        ([FP32], OUT, 0, False),
        ([("x", "FP32", (2, 3))], ("y", "BF16", ()), 0, True),
    ],
)
def test_fixed(inputs: list[Spec], output: Spec, max_batch_size: int, fixed: bool) -> None:
    assert Signature("m", "1", inputs, [output], max_batch_size).fixed is fixed


@pytest.mark.parametrize(
    ("inputs", "max_batch_size", "expected"),
    [
        ([("x", "FLOAT", (-1, 1))], 8, "model 'm': input 'x': unknown datatype 'FLOAT'; expected one of BOOL, UINT8"),
        ([("x", "FP32", (-1,) * 9)], 8, "input 'x': 9 dimensions, at most 8 are possible"),
        ([("x", "FP32", (4, 16))], 8, "with max_batch_size 8 axis 0 must be the batch (-1), got (4, 16)"),
        ([("x", "FP32", ())], 1, "with max_batch_size 1 axis 0 must be the batch (-1), got ()"),
        ([("x", "FP32", (-1, -2))], 8, "axis 1 of (-1, -2): expected a size, or -1 for any"),
        ([("x", "FP32", (-1, 2**62))], 8, "axis 1"),
        ([("x", "FP32", (-1, 2**40, 2**40))], 8, "is more than 2^63 bytes"),
        ([("x", "FP32", (-1, 2**60))], 8, "8 rows of (-1, 1152921504606846976) are more than 2^63 bytes"),
        ([FP32, FP32], 8, "input 'x' is there twice"),
        ([(str(i), "FP32", (-1,)) for i in range(257)], 8, "257 inputs, at most 256 are possible"),
        ([FP32], -1, "max_batch_size: expected 0 or more, got -1"),
    ],
)
def test_a_signature_that_cannot_be(inputs: list[Spec], max_batch_size: int, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signature_of(*inputs, max_batch_size=max_batch_size)
    assert expected in str(caught.value)


# ---- the check of a request ----------------------------------------------------------------------------------------


def plain_check(signature: Signature, tensors: list[Sent]) -> int | None:
    """The rows of a request that fits the signature, else None."""
    sent = {name: rest for name, *rest in tensors}
    if len(tensors) != signature.input_count or set(sent) != set(signature.input_names):
        return None
    batched = signature.max_batch_size > 0
    rows = {shape[0] if batched and shape else 1 for _, shape, _ in sent.values()} or {1}
    if len(rows) != 1 or (batched and not 1 <= next(iter(rows)) <= signature.max_batch_size):
        return None
    for name, word, dims in signature.input_specs:
        sent_word, shape, raw = sent[name]
        if word != sent_word or len(shape) != len(dims) or any(size < 0 for size in shape):
            return None
        if any(dim not in (-1, size) for dim, size in zip(dims, shape, strict=True)):
            return None
        if word == "BYTES":
            if not plain_elements(raw, math.prod(shape)):
                return None
        elif len(raw) != math.prod(shape) * DATATYPES[word][1]:
            return None
    return int(next(iter(rows)))


def plain_elements(raw: bytes, count: int) -> bool:
    found = 0
    while raw:
        length = int.from_bytes(raw[:4], "little")
        if len(raw) < 4 + length:
            return False
        try:
            raw[4 : 4 + length].decode()
        except UnicodeDecodeError:
            return False
        raw = raw[4 + length :]
        found += 1
    return found == count


@st.composite
def checked(draw: st.DrawFn) -> tuple[Signature, list[Sent]]:
    """A signature and a request that mostly fits it, with some of it changed."""
    batched = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(["a", "bb", "ä", "input_ids", "mask"]), max_size=4, unique=True))
    rows = draw(st.integers(0, 9)) if draw(st.integers(0, 3)) == 0 else 2
    specs: list[Spec] = []
    sent: list[Sent] = []
    for name in names:
        word = draw(st.sampled_from(["FP32", "INT64", "BOOL", "BF16", "BYTES"]))
        dims = draw(st.lists(st.integers(-1, 3), max_size=3))
        shape = [draw(st.integers(0, 3)) if dim < 0 else dim for dim in dims]
        if batched:
            dims, shape = [-1, *dims], [rows, *shape]
        specs.append((name, word, tuple(dims)))
        count = math.prod(shape)
        texts = draw(st.lists(st.text(max_size=5), min_size=count, max_size=count)) if word == "BYTES" else []
        raw = elements(*texts) if word == "BYTES" else bytes(count * DATATYPES[word][1])
        change = draw(st.integers(0, 25))
        if change == 0 and shape:
            shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(-1, 4))
        elif change == 1:
            raw = raw + draw(st.binary(min_size=1, max_size=8)) if draw(st.booleans()) else raw[:-1]
        elif change == 2:
            word = draw(st.sampled_from(sorted(DATATYPES)))
        elif change == 3:
            shape.append(1)
        elif change == 4:
            name = draw(st.sampled_from(["a", "bb", "other", ""]))
        elif change == 5:
            continue
        sent.append((name, word, tuple(shape), raw))
    return Signature("m", "1", specs, [], 8 if batched else 0), draw(st.permutations(sent))


@given(checked())
@settings(max_examples=200)
def test_a_signature_accepts_what_the_plain_version_accepts(case: tuple[Signature, list[Sent]]) -> None:
    signature, sent = case
    request = request_of(*sent)
    rows = plain_check(signature, sent)
    if rows is None:
        with pytest.raises(InvalidArgument):
            request.check(signature)
        return
    request.check(signature)
    assert request.rows == rows
    order = {name: place for place, name in enumerate(signature.input_names)}
    expected = sorted(sent, key=lambda tensor: order[tensor[0]])
    assert [(name, word, shape, bytes(raw)) for name, word, shape, raw in request.sent()] == expected


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (("x", "INT64", (1, 16), bytes(128)), "input 'x': expected FP32[-1,16], got INT64[1,16]; send FP32: in numpy .astype('float32')"),
        (("x", "FP32", (16,), bytes(64)), "expected FP32[-1,16], got FP32[16]; send 2 dimensions, the first of them is the batch"),
        (("x", "FP32", (1, 17), bytes(68)), "expected FP32[-1,16], got FP32[1,17]; axis 1 must be 16"),
        (("x", "FP32", (-1, 16), bytes(64)), "got FP32[-1,16]; send real sizes, axis 0 is negative"),
        (("x", "FP32", (1, -16), bytes(64)), "got FP32[1,-16]; send real sizes, axis 1 is negative"),
        (("x", "FP32", (0, 16), b""), "expected 1 to 8 rows, got none: FP32[0,16]; send at least one row"),
        (("x", "FP32", (9, 16), bytes(576)), "expected 1 to 8 rows (max_batch_size), got 9: FP32[9,16]; split the request"),
        (("x", "FP32", (2**62, 16), b""), "expected 1 to 8 rows (max_batch_size), got 4611686018427387904"),
        (("x", "FP32", (2, 16), bytes(64)), "expected [2,16] x 4 bytes of FP32 = 128 bytes, got 64 bytes; send as many elements"),
        (("x", "FP32", (1, 16), b""), "= 64 bytes, got 0 bytes"),
        (("x", "FP32", (1, 16), bytes(65)), "= 64 bytes, got 65 bytes"),
        (("z", "FP32", (1, 16), bytes(64)), "model 'm': input 'z' is not an input of this model; it takes 'x' FP32[-1,16]"),
    ],
)
def test_rejections_say_what_to_send(tensor: Sent, expected: str) -> None:
    assert expected in rejected(signature_of(FP32), tensor)


def test_rows_of_a_model_of_one_row() -> None:
    signature = Signature("m", "1", [("x", "FP32", (1, 16))], [("y", "FP32", (1, 16))], 0)
    told = rejected(signature, ("x", "FP32", (2, 16), bytes(128)))
    assert told.endswith("axis 0 must be 1: for more rows, export the model with a dynamic axis 0")


@pytest.mark.parametrize("max_batch_size", [0, 8])
@pytest.mark.parametrize(
    ("word", "shape", "fits"),
    [
        ("FP32", (0, 2**63 - 1), False),
        ("FP32", (2**62, 0), False),
        ("BYTES", (0, 2**60), False),
        ("FP32", (2**32, 2**32), False),
        ("BYTES", (2**32, 2**32), False),
        ("FP32", (0, 2**29), False),
        ("FP32", (0, 2**29 - 1), True),
        ("FP32", (2**29 - 1, 0), True),
        ("BYTES", (0, 2**29 - 1), True),
        ("BOOL", (2**31 - 1, 0), True),
        ("BOOL", (2**31, 0), False),
        ("FP32", (0, 0), True),
    ],
)
def test_an_axis_of_0_leaves_the_others_a_size(word: str, shape: tuple[int, ...], fits: bool, max_batch_size: int) -> None:
    batch = (1,) if max_batch_size else ()
    signature = signature_of(("x", word, (*(-1 for _ in batch), -1, -1)), max_batch_size=max_batch_size)
    if fits:
        request_of(("x", word, (*batch, *shape), b"")).check(signature)
    else:
        text = rejected(signature, ("x", word, (*batch, *shape), b""))
        assert "which is more bytes than any message holds" in text


def test_unknown_missing_duplicate_and_extra_inputs() -> None:
    signature = signature_of(FP32, IDS)
    x: Sent = ("x", "FP32", (1, 16), bytes(64))
    ids: Sent = ("ids", "INT64", (1, 2), bytes(16))
    takes = "it takes 'x' FP32[-1,16], 'ids' INT64[-1,-1]"
    assert rejected(signature, x) == f"model 'm': input 'ids' is missing; {takes}"
    assert rejected(signature) == f"model 'm': input 'x', 'ids' is missing; {takes}"
    assert rejected(signature, x, x) == "model 'm': input 'x' is there twice; send it once"
    assert rejected(signature, x, ids, x) == "model 'm': input 'x' is there twice; send it once"
    assert rejected(signature, x, ids, ("z", "FP32", (1,), bytes(4))) == f"model 'm': input 'z' is not an input of this model; {takes}"
    assert rejected(signature, ids, ("X", "FP32", (1, 16), bytes(64))) == f"model 'm': input 'X' is not an input of this model; {takes}"
    request_of(ids, x).check(signature)


def test_rows_that_differ() -> None:
    text = rejected(signature_of(FP32, IDS), ("x", "FP32", (1, 16), bytes(64)), ("ids", "INT64", (2, 1), bytes(16)))
    assert text == "model 'm': input 'ids' has 2 rows, input 'x' has 1; send the same number of rows in every input"


@pytest.mark.parametrize("shape", [(1, 2**62), (1, 2**63 - 1), (8, 2**60), (2, 2**62)])
def test_sizes_that_overflow(shape: tuple[int, ...]) -> None:
    assert "which is more bytes than any message holds" in rejected(signature_of(IDS), ("ids", "INT64", shape, bytes(8)))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (elements("a"), "expected as many BYTES elements as [1,2] has, got 1; send one length and its bytes for each"),
        (elements("a", "b", "c"), "as [1,2] has, got more"),
        (elements("a") + b"\x05\x00\x00\x00b", "but element 1 ends behind the tensor's 10 bytes; send the length of each element"),
        (elements("a") + b"\x01\x00", "but element 1 ends behind the tensor's 7 bytes"),
        (b"\xff\xff\xff\xff", "but element 0 ends behind the tensor's 4 bytes"),
        (elements("a", b"\xff"), "expected UTF-8 text, but element 1 is not; send UTF-8, or binary data as UINT8"),
    ],
)
def test_elements_of_bytes(raw: bytes, expected: str) -> None:
    assert expected in rejected(signature_of(TEXT), ("text", "BYTES", (1, 2), raw))


@pytest.mark.parametrize(
    ("rows", "max_batch_size", "limit"),
    [(1, 0, 1 << 17), (1, 1, 1 << 17), (1, 64, 2048), (3, 64, 3 * 2048), (64, 64, 1 << 17), (1, 1_000_000, 16)],
)
def test_the_texts_of_a_batch_have_a_limit(rows: int, max_batch_size: int, limit: int) -> None:
    """Each becomes a Python object, many times its bytes. A row has its share of what a whole batch may hold."""
    signature = signature_of(("text", "BYTES", (-1, -1)), max_batch_size=max_batch_size)
    count = limit // rows
    request_of(("text", "BYTES", (rows, count), bytes(4 * rows * count))).check(signature)
    for too_many in (count + 1, 1 << 40):
        raw = bytes(4 * rows * min(too_many, count + 1))
        text = rejected(signature, ("text", "BYTES", (rows, too_many), raw))
        assert f"expected at most {limit} BYTES elements in so many rows, got " in text


@pytest.mark.parametrize(
    ("rows", "max_batch_size", "limit"),
    [(1, 0, 16 << 20), (1, 1, 16 << 20), (2, 16, 2 << 20), (1, 64, 256 << 10), (1, 1_000_000, 256 << 10)],
)
def test_the_text_of_a_batch_has_a_limit(rows: int, max_batch_size: int, limit: int) -> None:
    """onnxruntime turns it into strings while nothing else runs. What goes to a step's bytes is none."""
    spec = ("text", "BYTES", (-1, 1))
    signature = signature_of(spec, max_batch_size=max_batch_size)
    texts = [b"x" * (limit // rows)] * rows
    request_of(("text", "BYTES", (rows, 1), elements(*texts))).check(signature)
    texts[-1] += b"x"
    raw = elements(*texts)
    text = rejected(signature, ("text", "BYTES", (rows, 1), raw))
    assert f"expected at most {limit} bytes of text in so many rows, got {len(raw)}" in text


@given(st.binary(max_size=12))
@settings(max_examples=200)
def test_utf8_is_what_python_decodes(text: bytes) -> None:
    request = request_of(("text", "BYTES", (1, 1), elements(text)))
    try:
        text.decode()
    except UnicodeDecodeError:
        with pytest.raises(InvalidArgument, match="UTF-8"):
            request.check(signature_of(("text", "BYTES", (-1, 1))))
    else:
        request.check(signature_of(("text", "BYTES", (-1, 1))))


def test_utf8_of_every_first_byte() -> None:
    signature = signature_of(("text", "BYTES", (-1, 1)))
    for first in range(0x80, 0x100):
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF):
            for rest in (b"", b"\x80", b"\xbf\x80", b"\x80\xbf\x80", b"\x7f\x80", b"\x80\xc0"):
                text = bytes([first, second]) + rest
                request = request_of(("text", "BYTES", (1, 1), elements(text)))
                try:
                    text.decode()
                except UnicodeDecodeError:
                    with pytest.raises(InvalidArgument):
                        request.check(signature)
                else:
                    request.check(signature)


def test_a_request_can_be_checked_again() -> None:
    signature = signature_of(FP32, IDS)
    request = request_of(("ids", "INT64", (3, 2), bytes(48)), ("x", "FP32", (3, 16), bytes(192)))
    for _ in range(3):
        request.check(signature)
        assert request.rows == 3
    with pytest.raises(InvalidArgument):
        request.check(signature_of(FP32))


def test_a_model_without_inputs() -> None:
    request = request_of()
    request.check(signature_of())
    assert request.rows == 1


# ---- shapes that share a batch -------------------------------------------------------------------------------------


def batches(signature: Signature, requests: list[InferRequest]) -> list[list[int]]:
    """Which of the requests run together."""
    batcher = Batcher(64, Statistics(64))
    for request in requests:
        request.check(signature)
        batcher.put(request, Call("/m", Message(b"")))
    formed = []
    while (batch := batcher.poll()) is not None:
        formed.append([requests.index(request) for request in batch.requests])
        batch.fail(Internal("not run"))
        batch.deliver()
    return formed


def ids_of(*shape: int) -> InferRequest:
    return request_of(("ids", "INT64", shape, bytes(8 * math.prod(shape))))


def test_only_equal_shapes_share_a_batch() -> None:
    signature = Signature("m", "1", [("ids", "INT64", (-1, -1, -1))], [OUT], 8)
    shapes = [(1, 2, 3), (2, 2, 3), (1, 3, 2), (1, 2, 3), (1, 6, 1), (1, 3, 2)]
    assert sorted(batches(signature, [ids_of(*shape) for shape in shapes])) == [[0, 1, 3], [2, 5], [4]]


def test_huge_shapes_have_keys_of_their_own() -> None:
    signature = Signature("m", "1", [("ids", "INT64", (-1, -1, -1, -1))], [OUT], 8)
    shapes = [(1, 0, 2**26, 1), (1, 2**26, 0, 1), (1, 0, 2**26, 1), (1, 0, 2**25, 1), (1, 0, 0, 1)]
    assert sorted(batches(signature, [ids_of(*shape) for shape in shapes])) == [[0, 2], [1], [3], [4]]


def test_rows_do_not_matter_for_fixed_shapes() -> None:
    requests = [request_of(("x", "FP32", (rows, 16), bytes(64 * rows))) for rows in (1, 3, 2)]
    assert batches(signature_of(FP32), requests) == [[0, 1, 2]]


# ---- arrays --------------------------------------------------------------------------------------------------------


def batch_of(signature: Signature, *requests: InferRequest) -> Batch:
    batcher = Batcher(64, Statistics(64))
    for request in requests:
        request.check(signature)
        batcher.put(request, Call("/m", Message(b"")))
    batch = batcher.poll()
    assert batch is not None
    return batch


def test_text_is_gathered_into_objects() -> None:
    batch = batch_of(
        signature_of(TEXT),
        request_of(("text", "BYTES", (1, 2), elements("a", ""))),
        request_of(("text", "BYTES", (2, 2), elements("é", "日本", "\0", "z" * 300))),
    )
    array = np.full((3, 2), "old", dtype=object)
    batch.gather(Tensors([array], ["BYTES"], True))
    assert array.tolist() == [["a", ""], ["é", "日本"], ["\0", "z" * 300]]


def test_text_without_a_batch_axis() -> None:
    signature = Signature("m", "1", [("text", "BYTES", ())], [], 0)
    array = np.empty((), dtype=object)
    batch_of(signature, request_of(("text", "BYTES", (), elements("alone")))).gather(Tensors([array], ["BYTES"], False))
    assert array.item() == "alone"


def test_text_that_does_not_fit_its_array_writes_nothing_behind_it() -> None:
    batch = batch_of(signature_of(TEXT), request_of(("text", "BYTES", (2, 2), elements("a", "b", "c", "d"))))
    with pytest.raises((ValueError, Internal)):
        batch.gather(Tensors([np.empty((1, 2), dtype=object)], ["BYTES"], True))


@pytest.mark.parametrize(
    ("arrays", "words", "batched", "rows", "expected"),
    [
        ([np.zeros((2, 3), "f8")], ["FP32"], True, None, "array 0: FP32 is float32, got an array of float64"),
        ([np.zeros((2, 3), ">f4")], ["FP32"], True, None, "FP32 is float32, got an array of >f4"),
        ([np.zeros((2, 3), "f4").T], ["FP32"], True, None, "array 0: expected a C-contiguous array"),
        ([np.zeros((4, 3), "f4")[::2]], ["FP32"], True, None, "expected a C-contiguous array"),
        ([np.zeros((2, 3), "f4"), np.zeros((3, 3), "f4")], ["FP32"] * 2, True, None, r"array 1: expected 2 rows, got shape \(3, 3\)"),
        ([np.zeros((2, 3), "f4")], ["FP32"], True, 3, r"array 0: expected 3 rows, got shape \(2, 3\)"),
        ([np.zeros((), "f4")], ["FP32"], True, None, r"array 0: expected .* rows, got shape \(\)"),
        ([np.zeros(2, "f4")], ["FLOAT"], True, None, "array 0: unknown datatype 'FLOAT'"),
        ([np.zeros(2, "f4")], [], True, None, "1 arrays, 0 datatypes"),
        ([np.zeros((1,) * 9, "f4")], ["FP32"], True, None, "array 0: 9 dimensions, at most 8 are possible"),
        ([np.zeros(2, "U4")], ["BYTES"], True, None, "array 0: BYTES is object, got an array of <U4"),
    ],
)
def test_arrays_that_are_not_what_they_are_called(
    arrays: list[Any], words: list[str], batched: bool, rows: int | None, expected: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=expected):
        Tensors(arrays, words, batched, rows)


def test_arrays_are_kept() -> None:
    arrays = [np.zeros((2, 3), "f4"), np.zeros((2,), "?"), np.array([["a"], ["b"]], dtype=object)]
    tensors = Tensors(arrays, ["FP32", "BOOL", "BYTES"], True, rows=2)
    assert all(kept is array for kept, array in zip(tensors.arrays, arrays, strict=True))


@given(
    rows=st.integers(1, 64),
    size=st.integers(0, 3000),
    most=st.integers(1, 1 << 40),
    known=st.integers(1, 1 << 20),
    cost=st.integers(1, 1 << 36),
    growth=st.floats(1, 3),
)
def test_requests_whose_run_is_estimated_to_take_too_much(rows: int, size: int, most: int, known: int, cost: int, growth: float) -> None:
    signature = Signature("m", "1", [("a", "FP32", (-1, -1)), ("b", "INT8", (-1, 4))], [("y", "FP32", (-1, -1))], 64)
    request = LocalRequest([("a", "FP32", np.zeros((rows, size), "f4")), ("b", "INT8", np.zeros((rows, 4), "i1"))])
    request.check(signature)
    signature.limit_runs(most, known, cost, growth)
    estimate = rows * cost * ((4 * size + 4) / known) ** growth
    if math.isclose(estimate, most, rel_tol=1e-9):
        return
    if estimate < most:
        request.check(signature)
    else:
        with pytest.raises(
            ResourceExhausted, match=rf"{rows} rows? and {rows * (4 * size + 4)} bytes .* may take {most} \(max_run_bytes\)"
        ):
            request.check(signature)


def test_limits_that_make_no_sense() -> None:
    signature = Signature("m", "1", [("a", "FP32", (-1, 4, -1))], [("y", "FP32", (-1, 4))], 64)
    signature.limit_axis(0, 2, 5)
    for index, axis in ((1, 2), (0, 1), (0, 3), (-1, 2), (0, -1)):
        with pytest.raises(ValueError, match="has no axis"):
            signature.limit_axis(index, axis, 5)
    for known, cost, growth in ((0, 1, 1), (1, 0, 1), (1, 1, 0.9)):
        with pytest.raises(ValueError, match="needs some memory"):
            signature.limit_runs(1, known, cost, growth)
