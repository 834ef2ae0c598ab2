"""Rows of unequal length in one batch, against numpy: what shares a batch, what is written where, and what each caller gets back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc import message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import ConfigError, Internal, InvalidArgument
from inferd.protocol import inference as pb
from tests.fake_backend import Caller

Array = np.ndarray[Any, Any]
Spec = tuple[str, str, tuple[int, ...]]

ROWS, NEAR_ROWS = 64, 6
WORDS = sorted(word for word in DATATYPES if word != "BYTES")
IDS: Spec = ("ids", "INT64", (-1, -1))
TYPES: Spec = ("types", "INT64", (-1, -1))
MASK: Spec = ("mask", "INT64", (-1, -1))
OUT: Spec = ("y", "INT64", (-1, -1))


def signature_of(*inputs: Spec, output: Spec = OUT, rows: int = ROWS, **unequal: Any) -> Signature:
    return Signature("m", "1", inputs, [output], rows, **unequal)


def text(buckets: tuple[int, ...] = (), size: int = -1, left: bool = False) -> Signature:
    """Token numbers, and the mask that the server makes."""
    ids, mask, out = (("ids", "INT64", (-1, size)), ("mask", "INT64", (-1, size)), ("y", "INT64", (-1, size)))
    return signature_of(ids, mask, output=out, paddings={"ids": (0, -1, buckets, left)}, masks={"mask": "ids"}, cuts={"y": (0, "ids")})


def local(signature: Signature, **arrays: Array) -> LocalRequest:
    words = {name: word for name, word, _ in signature.input_specs}
    made = LocalRequest([(name, words[name], array) for name, array in arrays.items()])
    made.check(signature)
    return made


def put(batcher: Batcher, made: Any) -> Caller:
    caller = Caller()
    batcher.put(made, caller)
    return caller


def batches(signature: Signature, *requests: dict[str, Array]) -> list[list[int]]:
    """Which of the requests share a batch: their places."""
    batcher = Batcher(signature.max_batch_size, Statistics(signature.max_batch_size))
    made = [local(signature, **arrays) for arrays in requests]
    for request in made:
        put(batcher, request)
    found = []
    while (batch := batcher.poll()) is not None:
        found.append([next(place for place, known in enumerate(made) if known is request) for request in batch.requests])
    return found


def tokens(*shape: int) -> Array:
    return np.arange(1, math.prod(shape) + 1, dtype=np.int64).reshape(shape)


def ran(batch: Batch, signature: Signature) -> list[Array]:
    """What an instance does with a model whose every output is its first input; the run's input arrays, which were full of rubbish."""
    arrays = []
    for index, (_, word, _) in enumerate(signature.run_input_specs):
        array = np.empty(batch.input_shape(index), DATATYPES[word][2])
        array.view(np.uint8)[...] = 0xAA if word != "BOOL" else 1
        arrays.append(array)
    batch.gather(Tensors(arrays, [word for _, word, _ in signature.run_input_specs], True, batch.rows))
    outputs = [arrays[0].copy() for _ in signature.run_output_specs]
    batch.encode(Tensors(outputs, [word for _, word, _ in signature.run_output_specs], True, batch.rows))
    batch.deliver()
    return arrays


# ---- against numpy -------------------------------------------------------------------------------------------------


@st.composite
def unequal(draw: st.DrawFn) -> tuple[str, tuple[int, ...], int, tuple[int, ...], list[tuple[int, int]], str]:
    """Datatype, dims (-1 at the padded axis), that axis, buckets, (rows, length) of each request, and the mask's datatype."""
    dims = draw(st.lists(st.integers(1, 4), min_size=0, max_size=3))
    axis = draw(st.integers(0, len(dims)))
    buckets = draw(st.lists(st.integers(1, 40), max_size=4, unique=True))
    requests = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 33)), min_size=1, max_size=8))
    return (
        draw(st.sampled_from(WORDS)),
        (*dims[:axis], -1, *dims[axis:]),
        axis,
        tuple(sorted(buckets)),
        requests,
        draw(st.sampled_from(WORDS)),
    )


def plain_padded(array: Array, axis: int, size: int, value: Array, left: bool = False) -> Array:
    widths = [(0, 0)] * array.ndim
    filling = size - array.shape[axis + 1]
    widths[axis + 1] = (filling, 0) if left else (0, filling)
    return np.pad(array, widths, constant_values=value)


def bucket_of(length: int, buckets: tuple[int, ...]) -> int | tuple[int, bool]:
    """The least that is long enough; else the power of 2 that the length is above, and whether it is above half of the next one, too."""
    power = max(length.bit_length() - 1, -1)
    return next((size for size in buckets if length <= size), (power, power >= 0 and 2 * length >= 3 << power))


def near_of(length: int, buckets: tuple[int, ...]) -> int | tuple[int, int]:
    """The same; the power of 2, and how many quarters of the way to the next one."""
    power = max(length.bit_length() - 1, -1)
    return next((size for size in buckets if length <= size), (power, 4 * length >> power if power >= 0 else 0))


def plain_batches(requests: list[tuple[int, int]], buckets: tuple[int, ...]) -> list[list[int]]:
    """The places of requests, given as (rows, length), that run together: the oldest and its likes, or only its near ones if these have
    NEAR_ROWS."""
    waiting, found = list(range(len(requests))), []
    while waiting:
        length = requests[waiting[0]][1]
        likes = [place for place in waiting if bucket_of(requests[place][1], buckets) == bucket_of(length, buckets)]
        near = [place for place in likes if near_of(requests[place][1], buckets) == near_of(length, buckets)]
        found.append(near if sum(requests[place][0] for place in near) >= NEAR_ROWS else likes)
        waiting = [place for place in waiting if place not in found[-1]]
    return found


def one_of(word: str) -> Array:
    """1 in that datatype, as numpy holds it."""
    return np.array(0x3F80, np.uint16) if word == "BF16" else np.array(1, DATATYPES[word][2])


@settings(max_examples=150, deadline=None)
@given(unequal(), st.integers(0, 1), st.booleans(), st.booleans())
def test_every_row_is_written_as_numpy_pads_it_and_answered_as_it_was(case: Any, value: int, left: bool, on_the_wire: bool) -> None:
    word, dims, axis, buckets, requests, mask_word = case
    signature = Signature(
        "m",
        "1",
        [("x", word, (-1, *dims)), ("mask", mask_word, (-1, -1))],
        [("whole", word, (-1, *dims)), ("y", word, (-1, *dims))],
        ROWS,
        paddings={"x": (axis, value, buckets, left)},
        masks={"mask": "x"},
        cuts={"y": (axis, "x")},
    )
    assert (signature.input_names, signature.fixed) == (("x",), False)
    random = np.random.default_rng(len(requests))
    batcher = Batcher(ROWS, Statistics(ROWS))
    sent = []
    for rows, length in requests:
        shape = (rows, *(length if dim < 0 else dim for dim in dims))
        numbers = random.integers(0, 2 if word == "BOOL" else 120, shape)
        array = numbers.astype(DATATYPES[word][2])
        if on_the_wire:
            wire = pb.ModelInferRequest(model_name="m")
            wire.inputs.add(name="x", datatype=word, shape=shape)
            wire.raw_input_contents.append(array.tobytes())
            made: Any = decode_infer_request(wire.SerializeToString())
        else:
            made = LocalRequest([("x", word, array)])
        made.check(signature)
        sent.append((made, array, put(batcher, made)))
    shared = plain_batches(requests, buckets)
    sizes: dict[int, int] = {}  # place of a request -> what it is padded to
    fill, one = np.where(value == 1, one_of(word), np.zeros((), DATATYPES[word][2])), one_of(mask_word)
    while (batch := batcher.poll()) is not None:
        places = shared.pop(0)
        mine = [sent[place] for place in places]
        assert [each[0] for each in mine] == list(batch.requests)
        bucket = bucket_of(requests[places[0]][1], buckets)
        size = bucket if isinstance(bucket, int) else max(requests[place][1] for place in places)
        sizes |= dict.fromkeys(places, size)
        assert batch.input_shape(0) == (batch.rows, *(size if dim < 0 else dim for dim in dims))
        assert batch.input_shape(1) == (batch.rows, size)
        copied = message.copied_nbytes()
        x, mask = ran(batch, signature)
        assert message.copied_nbytes() - copied == sum(array.nbytes for _, array, _ in mine), "every byte of a request once"
        expected = np.concatenate([plain_padded(array, axis, size, fill, left) for _, array, _ in mine])
        assert x.tobytes() == expected.astype(x.dtype).tobytes()
        real = [plain_padded(np.full((array.shape[0], array.shape[axis + 1]), one), 0, size, one * 0, left) for _, array, _ in mine]
        assert mask.tobytes() == np.concatenate(real).astype(mask.dtype).tobytes()
    assert not shared
    for place, (_, array, caller) in enumerate(sent):
        assert_answered(caller, array, sizes[place], axis)


def assert_answered(caller: Caller, array: Array, size: int, axis: int) -> None:
    """`y` is what was sent, `whole` that and the filling."""
    assert (len(caller.responses), caller.errors) == (1, [])
    answer: Any = caller.responses[0]
    padded = (*array.shape[: axis + 1], size, *array.shape[axis + 2 :])
    if isinstance(answer, dict):
        assert answer["y"].flags["C_CONTIGUOUS"]
        assert answer["y"].base is None
        assert (answer["y"].shape, answer["y"].tobytes()) == (array.shape, array.tobytes())
        assert answer["whole"].shape == padded
        return
    response = pb.ModelInferResponse.FromString(bytes(answer))
    assert [tuple(output.shape) for output in response.outputs] == [padded, array.shape]
    assert response.raw_output_contents[1] == array.tobytes()


@pytest.mark.parametrize("left", [False, True])
def test_large_rows_and_several_outputs_asked_for(left: bool) -> None:
    """More than is copied with the GIL held, in several pieces a row."""
    dims = (3, -1, 100)
    signature = signature_of(
        ("x", "FP32", (-1, *dims)), output=("y", "FP32", (-1, *dims)), paddings={"x": (1, 2.5, (), left)}, cuts={"y": (1, "x")}
    )
    batcher = Batcher(ROWS, Statistics(ROWS))
    arrays = [np.random.default_rng(length).random((2, 3, length, 100), np.float32) for length in (800, 1000, 770, 999)]
    callers = [put(batcher, local(signature, x=array)) for array in arrays]
    batch = batcher.poll()
    assert batch is not None
    (x,) = ran(batch, signature)
    np.testing.assert_array_equal(x, np.concatenate([plain_padded(array, 1, 1000, np.array(2.5), left) for array in arrays]))
    for array, caller in zip(arrays, callers, strict=True):
        np.testing.assert_array_equal(caller.response, array)


# ---- what shares a batch -------------------------------------------------------------------------------------------


def test_lengths_differ_in_the_padded_axis_only() -> None:
    signature = signature_of(("x", "FP32", (-1, -1, -1)), output=("y", "FP32", (-1,)), paddings={"x": (0, 0, (), False)})

    def sent(length: int, width: int) -> dict[str, Array]:
        return {"x": np.zeros((1, length, width), np.float32)}

    assert batches(signature, sent(8, 2), sent(11, 2), sent(8, 4), sent(9, 4), sent(10, 2)) == [[0, 1, 4], [2, 3]]


def test_only_lengths_of_one_bucket_meet() -> None:
    lengths = (3, 4, 5, 8, 9, 20, 1, 11, 17)
    found = batches(text(buckets=(4, 8)), *({"ids": tokens(1, length)} for length in lengths))
    assert found == [[0, 1, 6], [2, 3], [4, 7], [5, 8]]


def test_without_buckets_none_is_half_as_long_again_as_another() -> None:
    found = batches(text(), *({"ids": tokens(1, length)} for length in range(25)))
    assert found == [[0], [1], [2], [3], [4, 5], [6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19, 20, 21, 22, 23], [24]]


def test_many_of_nearly_one_length_run_without_those_that_are_longer() -> None:
    """Quarters of an octave are alone, if enough wait of the oldest one's; a bucket costs the same whatever is in it."""
    lengths = (17, 21, 16, 19, 18, 20, 16, 17, 23)
    sent = [{"ids": tokens(1, length)} for length in lengths]
    assert batches(text(), *sent) == [[0, 2, 3, 4, 6, 7], [1, 5, 8]]
    assert batches(text(), *sent[:-2]) == [[0, 1, 2, 3, 4, 5, 6]]
    assert batches(text(buckets=(32,)), *sent) == [list(range(9))]
    assert batches(text(size=32), *sent) == [list(range(9))]


def test_requests_whose_own_inputs_differ_in_length_never_meet_those_whose_do_not() -> None:
    """A model may fail on them: nobody else's request is to fail with theirs."""
    signature = signature_of(IDS, TYPES, paddings={"ids": (0, 0, (), False), "types": (0, 0, (), False)})

    def sent(ids: int, types: int) -> dict[str, Array]:
        return {"ids": tokens(1, ids), "types": tokens(1, types)}

    assert batches(signature, sent(12, 12), sent(15, 13), sent(14, 14), sent(13, 15), sent(14, 12)) == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize("count", [12, 40], ids=["few bits each", "none"])
def test_many_padded_inputs(count: int) -> None:
    """More than a shape key has room for: it is hashed, without the rows."""
    names = [f"in{index}" for index in range(count)]
    paddings = dict.fromkeys(names, (0, 0, (10, 1000), False))
    signature = signature_of(*((name, "INT64", (-1, -1)) for name in names), paddings=paddings)

    def sent(rows: int, length: int, last: int = 0) -> dict[str, Array]:
        return dict.fromkeys(names, tokens(rows, length)) | {names[-1]: tokens(rows, length + last)}

    found = batches(signature, sent(1, 3), sent(2, 9), sent(1, 500), sent(1, 3, 200), sent(3, 501), sent(1, 4, 200))
    assert found == [[0, 1], [2, 4], [3, 5]]


def test_nobodys_long_row_makes_a_batch_of_short_ones_much_larger_than_itself() -> None:
    """256 MiB are the most that is made of max_batch_size of them (MAX_PADDED_NBYTES); longer ones meet their like only."""
    signature = signature_of(("x", "UINT8", (-1, -1)), output=("y", "UINT8", (-1,)), rows=48, paddings={"x": (0, 0, (), False)})
    most = (1 << 28) // 48
    rows = [np.zeros((1, length), np.uint8) for length in (1 << 22, most, most + 1, most - 9, most + 2, most + 1)]
    assert batches(signature, *({"x": array} for array in rows)) == [[0, 1, 3], [2, 5], [4]]
    short = np.zeros((1, 5), np.uint8)
    bucketed = signature_of(("x", "UINT8", (-1, -1)), output=("y", "UINT8", (-1,)), paddings={"x": (0, 0, (1 << 23,), False)})
    assert batches(bucketed, {"x": short}, {"x": np.zeros((1, 6), np.uint8)}, {"x": short}) == [[0, 2], [1]]


def test_wide_rows_count_with_all_their_bytes() -> None:
    def shared(rows: int) -> list[list[int]]:
        signature = signature_of(
            ("x", "FP64", (-1, -1, 1 << 17)), output=("y", "FP64", (-1,)), rows=rows, paddings={"x": (0, 0, (), False)}
        )
        return batches(signature, *({"x": np.zeros((1, length, 1 << 17))} for length in (4, 5, 5, 4)))

    assert (shared(64), shared(8)) == ([[0, 3], [1, 2]], [[0, 1, 2, 3]])


# ---- a graph's own size --------------------------------------------------------------------------------------------


def test_rows_are_filled_up_to_the_size_that_the_graph_has() -> None:
    signature = text(size=6)
    assert signature.fixed, "every run has the same sizes: buffers can be bound"
    assert (signature.input_specs, signature.output_specs) == ((IDS,), (OUT,))
    assert signature.run_input_specs == (("ids", "INT64", (-1, 6)), ("mask", "INT64", (-1, 6)))
    assert signature.run_output_specs == (("y", "INT64", (-1, 6)),)
    batcher = Batcher(ROWS, Statistics(ROWS))
    callers = [put(batcher, local(signature, ids=tokens(1, length))) for length in (2, 6, 0)]
    batch = batcher.poll()
    assert batch is not None
    ids, mask = ran(batch, signature)
    assert ids.tolist() == [[1, 2, -1, -1, -1, -1], [1, 2, 3, 4, 5, 6], [-1] * 6]
    assert mask.tolist() == [[1, 1, 0, 0, 0, 0], [1] * 6, [0] * 6]
    assert [caller.response.tolist() for caller in callers] == [[[1, 2]], [[1, 2, 3, 4, 5, 6]], [[]]]


def test_rows_are_filled_up_in_front() -> None:
    signature = text(size=6, left=True)
    batcher = Batcher(ROWS, Statistics(ROWS))
    callers = [put(batcher, local(signature, ids=tokens(1, length))) for length in (2, 6, 0)]
    batch = batcher.poll()
    assert batch is not None
    ids, mask = ran(batch, signature)
    assert ids.tolist() == [[-1, -1, -1, -1, 1, 2], [1, 2, 3, 4, 5, 6], [-1] * 6]
    assert mask.tolist() == [[0, 0, 0, 0, 1, 1], [1] * 6, [0] * 6]
    assert [caller.response.tolist() for caller in callers] == [[[1, 2]], [[1, 2, 3, 4, 5, 6]], [[]]]


def test_a_longer_row_is_rejected() -> None:
    with pytest.raises(InvalidArgument, match=r"input 'ids': expected at most 6 along .*, got INT64\[1,7\]; send less of it"):
        local(text(size=6), ids=tokens(1, 7))


def test_the_mask_is_not_sent() -> None:
    made = LocalRequest([("mask", "INT64", tokens(1, 3))])
    with pytest.raises(InvalidArgument, match="'mask' is not an input of this model; it takes 'ids'"):
        made.check(text())


# ---- faults elsewhere are no writes behind an array ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(3, 4), (3, 5)], ["INT64", "INT64"]),
        ([(2, 5), (2, 5)], ["INT64", "INT64"]),
        ([(3, 5), (3, 4)], ["INT64", "INT64"]),
        ([(3, 5), (3, 5)], ["FP64", "INT64"]),
        ([(3, 5), (3, 5)], ["INT64", "INT32"]),
        ([(3, 5, 1), (3, 5)], ["INT64", "INT64"]),
        ([(3, 5), (3, 5, 1)], ["INT64", "INT64"]),
        ([(3, 5)], ["INT64"]),
        ([(3, 5), (3, 5), (3, 5)], ["INT64", "INT64", "INT64"]),
    ],
)
def test_gather_into_what_does_not_fit(shapes: list[tuple[int, ...]], words: list[str]) -> None:
    batcher = Batcher(ROWS, Statistics(ROWS))
    for length in (2, 5, 1):
        put(batcher, local(text(buckets=(5,)), ids=tokens(1, length)))
    batch = batcher.poll()
    assert batch is not None
    guarded = [np.zeros((shape[0] + 1, *shape[1:]), DATATYPES[word][2]) for shape, word in zip(shapes, words, strict=True)]
    with pytest.raises(Internal, match="fault of the server"):
        batch.gather(Tensors([array[:-1] for array in guarded], words, True))
    assert all(not array[-1].any() for array in guarded)
    batch.deliver()


def test_an_array_may_be_longer_than_the_longest() -> None:
    batcher = Batcher(ROWS, Statistics(ROWS))
    put(batcher, local(text(), ids=tokens(2, 2)))
    batch = batcher.poll()
    assert batch is not None
    ids, mask = np.zeros((2, 3), np.int64), np.ones((2, 3), np.int64)
    batch.gather(Tensors([ids, mask], ["INT64", "INT64"], True))
    assert (ids.tolist(), mask.tolist()) == ([[1, 2, -1], [3, 4, -1]], [[1, 1, 0], [1, 1, 0]])
    with pytest.raises(IndexError):
        batch.input_shape(2)
    batch.deliver()


@pytest.mark.parametrize("on_the_wire", [False, True])
def test_an_output_that_is_shorter_than_its_input_fails_that_request_alone(on_the_wire: bool) -> None:
    batcher = Batcher(ROWS, Statistics(ROWS))
    callers = []
    signature = text(buckets=(5,))
    for length in (2, 5):
        made: Any
        if on_the_wire:
            wire = pb.ModelInferRequest(model_name="m")
            wire.inputs.add(name="ids", datatype="INT64", shape=(1, length))
            wire.raw_input_contents.append(tokens(1, length).tobytes())
            made = decode_infer_request(wire.SerializeToString())
            made.check(signature)
        else:
            made = local(signature, ids=tokens(1, length))
        callers.append(put(batcher, made))
    batch = batcher.poll()
    assert batch is not None
    batch.encode(Tensors([tokens(2, 3)], ["INT64"], True))
    batch.deliver()
    assert len(callers[0].responses) == 1
    assert "output 'y' is not as long as its input; remove its cut" in str(callers[1].error)


# ---- declarations --------------------------------------------------------------------------------------------------


def test_a_signature_shows_its_paddings() -> None:
    signature = text(buckets=(4, 8))
    assert signature.paddings == {"ids": (0, -1, (4, 8), False)}
    assert (signature.masks, signature.cuts) == ({"mask": "ids"}, {"y": (0, "ids")})
    assert signature.run_input_specs == (IDS, MASK)
    plain = signature_of(IDS)
    assert (plain.paddings, plain.masks, plain.cuts) == ({}, {}, {})
    assert (plain.run_input_specs, plain.run_output_specs) == (plain.input_specs, plain.output_specs)


def test_masks_stand_behind_the_inputs_of_requests() -> None:
    signature = signature_of(MASK, IDS, TYPES, paddings={"ids": (0, 0, (), False)}, masks={"mask": "ids"})
    assert signature.input_specs == (IDS, TYPES)
    assert signature.run_input_specs == (IDS, TYPES, MASK)


PADDED = {"ids": (0, 0, (), False)}


@pytest.mark.parametrize(
    ("inputs", "unequal", "expected"),
    [
        ([IDS], {"paddings": {"nope": (0, 0, (), False)}}, "padding of input 'nope': 'nope' is not there; there is 'ids'"),
        ([("ids", "BYTES", (-1, -1))], {"paddings": PADDED}, "BYTES cannot be filled up: remove the padding"),
        (
            [IDS],
            {"paddings": {"ids": (1, 0, (), False)}},
            "axis 1 of INT64[-1,-1], the batch axis not counted, is not there: choose one from 0 to 0",
        ),
        ([IDS], {"paddings": {"ids": (-1, 0, (), False)}}, "axis -1 of INT64[-1,-1]"),
        ([("ids", "INT64", (-1, 0))], {"paddings": PADDED}, "axis 0 of INT64[-1,0]"),
        ([IDS], {"paddings": {"ids": (0, 0.5, (), False)}}, "INT64 does not hold the value 0.5: choose one that it holds"),
        ([("ids", "UINT8", (-1, -1))], {"paddings": {"ids": (0, -1, (), False)}}, "UINT8 does not hold the value -1"),
        ([("ids", "UINT8", (-1, -1))], {"paddings": {"ids": (0, 256, (), False)}}, "UINT8 does not hold the value 256"),
        ([("ids", "BOOL", (-1, -1))], {"paddings": {"ids": (0, 2, (), False)}}, "BOOL does not hold the value 2"),
        ([("ids", "INT32", (-1, -1))], {"paddings": {"ids": (0, math.nan, (), False)}}, "INT32 does not hold the value nan"),
        ([("ids", "FP16", (-1, -1))], {"paddings": {"ids": (0, 1e6, (), False)}}, "FP16 does not hold the value 1000000"),
        ([IDS], {"paddings": {"ids": (0, 0, (4, 4), False)}}, "buckets [4, 4]: expected at most 32 rising sizes, from 1 to 2^31 - 1"),
        ([IDS], {"paddings": {"ids": (0, 0, (0, 4), False)}}, "buckets [0, 4]"),
        ([IDS], {"paddings": {"ids": (0, 0, (1 << 31,), False)}}, "buckets [2147483648]"),
        ([IDS], {"paddings": {"ids": (0, 0, tuple(range(1, 34)), False)}}, "expected at most 32 rising sizes"),
        ([IDS], {"paddings": PADDED, "masks": {"mask": "ids"}}, "mask 'mask' is not one of the inputs"),
        ([IDS, MASK], {"paddings": PADDED, "masks": {"mask": "x"}}, "mask 'mask': 'x' is not there"),
        ([IDS, TYPES, MASK], {"paddings": PADDED, "masks": {"mask": "types"}}, "mask 'mask': input 'types' is not padded: pad it"),
        ([IDS, ("mask", "INT64", (-1,))], {"paddings": PADDED, "masks": {"mask": "ids"}}, "expected a number for each place"),
        ([IDS, ("mask", "INT64", (-1, 7))], {"paddings": PADDED, "masks": {"mask": "ids"}}, "[-1,-1], got INT64[-1, 7]"),
        ([IDS, ("mask", "BYTES", (-1, -1))], {"paddings": PADDED, "masks": {"mask": "ids"}}, "got BYTES[-1, -1]"),
        ([IDS], {"paddings": PADDED, "cuts": {"z": (0, "ids")}}, "cut of output 'z': 'z' is not there; there is 'y'"),
        ([IDS, TYPES], {"paddings": PADDED, "cuts": {"y": (0, "types")}}, "cut of output 'y': input 'types' is not padded"),
        ([IDS], {"paddings": PADDED, "cuts": {"y": (1, "ids")}}, "axis 1 of INT64[-1,-1], the batch axis not counted, is not the padded"),
        ([IDS], {"cuts": {"y": (0, "ids")}}, "input 'ids' is not padded"),
    ],
)
def test_a_declaration_that_cannot_be(inputs: list[Spec], unequal: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signature_of(*inputs, **unequal)
    assert "model 'm'" in str(caught.value)
    assert expected in str(caught.value)


def test_outputs_that_cannot_be_cut() -> None:
    for output, why in ((("y", "BYTES", (-1, -1)), "BYTES cannot be cut"), (("y", "INT64", (-1, 3)), "is not the padded axis of 'ids'")):
        with pytest.raises(ConfigError, match=why):
            signature_of(IDS, output=output, paddings=PADDED, cuts={"y": (0, "ids")})


def test_padding_needs_a_batch_axis() -> None:
    with pytest.raises(ConfigError, match="padding needs a batch axis, and max_batch_size is 0"):
        Signature("m", "1", [("ids", "INT64", (1, -1))], [OUT], 0, paddings=PADDED)


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("FP32", math.inf, np.float32(math.inf)),
        ("FP32", math.nan, np.float32(math.nan)),
        ("FP64", 1e-300, 1e-300),
        ("FP16", 0.1, np.float16(0.1)),
        ("BF16", -2.5, np.uint16(0xC020)),
        ("INT8", -128, np.int8(-128)),
        ("BOOL", 1, np.bool_(True)),
        ("FP32", -0.0, np.float32(-0.0)),
    ],
)
def test_values_of_the_filling(word: str, value: float, expected: Any) -> None:
    signature = signature_of(("x", word, (-1, 5)), output=("y", word, (-1, 5)), paddings={"x": (0, value, (), False)})
    batcher = Batcher(ROWS, Statistics(ROWS))
    put(batcher, local(signature, x=np.zeros((1, 2), DATATYPES[word][2])))
    batch = batcher.poll()
    assert batch is not None
    (x,) = ran(batch, signature)
    assert x[0, 2:].tobytes() == np.full(3, expected, x.dtype).tobytes()
