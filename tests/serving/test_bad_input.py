"""What a client can get wrong, on both transports: the documented code, words that say what was expected, what came and how to
mend it, nobody else disturbed, and nothing left behind. A fixture looks at the last two after every test.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError

from inferd.protocol import inference
from tests import models
from tests.http2_peer import Peer, exchange, framed
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import SERVICE, Caller, Held, infer_request, outputs_of, pack_text, rows, same, status_of

Request = inference.ModelInferRequest
MAX_MESSAGE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def bad_input_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("bad_input"),
        {
            "identity": models.identity(),
            "add": models.add(),
            "text": models.text(),
            "tokens": models.sequence_length(),
            "half": models.identity("FP16", (4,)),
            "small": models.identity("INT8", (4,)),
            "fixed": models.fixed_batch(),
            "slow": models.slow(60),
        },
        {"identity": "max_batch_size: 8", "slow": "max_batch_size: 1"},
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(request: pytest.FixtureRequest, bad_input_files: Path) -> Iterator[ServerFixture]:
    with ServerFixture(bad_input_files, transport=request.param, max_message_bytes=MAX_MESSAGE_BYTES) as server:
        yield server


@pytest.fixture(scope="module")
def good(server: ServerFixture) -> Iterator[Caller]:
    """Somebody else, on a connection of its own that lives from the first bad request to the last."""
    with Caller(server.address) as caller:
        yield caller


@pytest.fixture(autouse=True)
def witness(server: ServerFixture, good: Caller) -> Iterator[Callable[[], None]]:
    """The other client is served as before, and the server holds what it held before."""
    opened = server.on_loop(lambda: server.server.edge._grpc.counters().get("connections"))
    held = Held(server)

    def look() -> None:
        same(
            good.answers("add", {"a": rows(2, first=3), "b": rows(2)}),
            {"sum": rows(2, first=3) + rows(2), "difference": np.float32(3) + 0 * rows(2)},
        )

    look()
    yield look
    look()
    held.check()
    if opened is not None:
        assert server.on_loop(lambda: server.server.edge._grpc.counters()["connections"]) >= min(opened, 1)


@pytest.fixture(scope="module")
def caller(server: ServerFixture) -> Iterator[Caller]:
    with Caller(server.address) as caller:
        yield caller


def clean(message: str) -> None:
    """Nothing of the server's inside, and not too much of anything."""
    assert message
    assert len(message) < 1500
    assert not re.search(
        r"Traceback|\.pyx?\b|site-packages|/model\.onnx|bad_input\d|onnxruntime|0x[0-9a-f]{6}|Error\(|Exception", message
    ), message


# ---- requests that are well formed and wrong


def of(model: str = "identity", **inputs: Any) -> Request:
    return infer_request(model, inputs)


def changed(change: Callable[[Request], Any], model: str = "identity", **inputs: Any) -> Request:
    request = of(model, **(inputs or {"x": rows(2)}))
    change(request)
    return request


def shaped(*shape: int, nbytes: int = 128, model: str = "identity", word: str = "FP32", name: str = "x") -> Request:
    """A tensor that says of itself what the test says."""
    request = Request(model_name=model, raw_input_contents=[bytes(nbytes)])
    request.inputs.add(name=name, datatype=word, shape=shape)
    return request


def typed(model: str, field: str, elements: list[Any], shape: tuple[int, ...], word: str, name: str = "x") -> Request:
    request = Request(model_name=model)
    tensor = request.inputs.add(name=name, datatype=word, shape=shape)
    getattr(tensor.contents, field).extend(elements)
    return request


def text_tensor(raw: bytes) -> Request:
    return changed(lambda r: r.raw_input_contents.__setitem__(0, raw), "text", x=np.full((1, 2), b"", object))


def asked(name: str, **parameters: Any) -> Request:
    request = of(x=rows(1))
    output = request.outputs.add(name=name)
    for key, value in parameters.items():
        output.parameters[key].CopyFrom(inference.InferParameter(**{"int64_param" if isinstance(value, int) else "string_param": value}))
    return request


def with_parameter(key: str, **value: Any) -> Request:
    return changed(lambda r: r.parameters[key].CopyFrom(inference.InferParameter(**value)))


INVALID, NOT_FOUND = "INVALID_ARGUMENT", "NOT_FOUND"
WRONG: dict[str, tuple[Request, str, tuple[str, ...]]] = {
    # which model
    "unknown model": (of("nosuch", x=rows(1)), NOT_FOUND, ("model_name", "'nosuch'", "repository index")),
    "no model": (of("", x=rows(1)), NOT_FOUND, ("model_name", "''", "repository index")),
    "long model name": (of("n" * 5000, x=rows(1)), NOT_FOUND, ("model_name", "nnn...", "repository index")),
    "path as a model": (of("../identity", x=rows(1)), NOT_FOUND, ("model_name", "'../identity'")),
    "unknown version": (changed(lambda r: setattr(r, "model_version", "9")), NOT_FOUND, ("version 9", "it serves 1", "newest")),
    "version in words": (changed(lambda r: setattr(r, "model_version", "x")), INVALID, ("model_version", "number from 1", "'x'")),
    "negative version": (changed(lambda r: setattr(r, "model_version", "-1")), INVALID, ("model_version", "number from 1", "'-1'")),
    "version zero": (changed(lambda r: setattr(r, "model_version", "0")), INVALID, ("model_version", "number from 1", "'0'")),
    "version beyond 64 bits": (changed(lambda r: setattr(r, "model_version", "9" * 30)), INVALID, ("model_version", "number from 1")),
    # which tensors
    "unknown input": (of(z=rows(1)), INVALID, ("'identity'", "input 'z'", "'x' FP32")),
    "extra input": (of(x=rows(1), z=rows(1)), INVALID, ("'identity'", "'z'", "'x' FP32")),
    "missing input": (of("add", a=rows(1)), INVALID, ("'add'", "'b'", "missing", "'a' FP32")),
    "no input": (Request(model_name="identity"), INVALID, ("'identity'", "'x'", "missing")),
    "duplicate input": (
        changed(lambda r: (r.inputs.add().CopyFrom(r.inputs[0]), r.raw_input_contents.append(r.raw_input_contents[0]))),
        INVALID,
        ("input 'x'", "twice", "once"),
    ),
    "duplicate for another": (
        changed(lambda r: setattr(r.inputs[1], "name", "a"), "add", a=rows(1), b=rows(1)),
        INVALID,
        ("input 'a'", "twice", "once"),
    ),
    "input without a name": (shaped(2, 16, name=""), INVALID, ("input ''", "'x' FP32")),
    "unknown output": (asked("z"), INVALID, ("'identity'", "output 'z'", "'y'")),
    "output without a name": (asked(""), INVALID, ("output ''", "'y'")),
    "classification": (asked("y", classification="3"), INVALID, ("output 'y'", "classification", "int64_param")),
    "output in shared memory": (asked("y", shared_memory_region="r"), INVALID, ("output 'y'", "shared memory", "leave")),
    "input in shared memory": (
        changed(lambda r: r.inputs[0].parameters["shared_memory_region"].CopyFrom(inference.InferParameter(string_param="r"))),
        INVALID,
        ("input 'x'", "shared memory", "send the tensor's bytes"),
    ),
    # datatypes and shapes
    "unknown datatype": (shaped(2, 16, word="FLOAT"), INVALID, ("input 'x'", "'FLOAT'", "FP32", "INT64")),
    "no datatype": (shaped(2, 16, word=""), INVALID, ("input 'x'", "''", "FP32")),
    "wrong datatype": (shaped(2, 16, word="INT32"), INVALID, ("input 'x'", "expected FP32[-1,16]", "got INT32[2,16]", "send FP32")),
    "wrong rank": (shaped(32), INVALID, ("input 'x'", "expected FP32[-1,16]", "got FP32[32]", "2 dimensions", "batch")),
    "rank too high": (shaped(2, 16, 1), INVALID, ("input 'x'", "expected FP32[-1,16]", "got FP32[2,16,1]", "2 dimensions")),
    "no shape": (shaped(), INVALID, ("input 'x'", "expected FP32[-1,16]", "got FP32[]")),
    "nine dimensions": (shaped(*[1] * 9), INVALID, ("8 dimensions",)),
    "thousand dimensions": (shaped(*[1] * 1000), INVALID, ("8 dimensions",)),
    "wrong axis": (shaped(2, 15, nbytes=120), INVALID, ("input 'x'", "expected FP32[-1,16]", "got FP32[2,15]", "axis 1 must be 16")),
    "wrong first axis of no batch": (
        of("fixed", x=rows(3, 4)),
        INVALID,
        ("'fixed'", "expected FP32[2,4]", "got FP32[3,4]", "axis 0 must be 2"),
    ),
    "rows over the limit": (of(x=rows(9)), INVALID, ("input 'x'", "1 to 8 rows", "max_batch_size", "got 9", "split")),
    "zero rows": (shaped(0, 16, nbytes=0), INVALID, ("input 'x'", "1 to 8 rows", "none", "at least one row")),
    "negative rows": (shaped(-1, 16), INVALID, ("input 'x'", "got FP32[-1,16]", "real sizes", "axis 0")),
    "negative axis": (shaped(2, -16), INVALID, ("input 'x'", "got FP32[2,-16]", "axis 1")),
    "axis of 2^62": (
        shaped(2, 1 << 62, model="tokens", word="INT64", name="tokens"),
        INVALID,
        ("'tokens'", "4611686018427387904", "bytes"),
    ),
    "rows of 2^63 - 1": (shaped((1 << 63) - 1, 16), INVALID, ("input 'x'", "1 to 8 rows", "9223372036854775807")),
    "rows of -2^63": (shaped(-(1 << 63), 16), INVALID, ("input 'x'", "axis 0")),
    "product that overflows": (shaped(4, (1 << 61) + 1, model="tokens", word="INT64", name="tokens"), INVALID, ("'tokens'", "bytes")),
    "rows that differ": (of("add", a=rows(2), b=rows(3)), INVALID, ("'add'", "input 'b' has 3 rows", "'a' has 2", "same number")),
    # sizes
    "too few bytes": (
        shaped(2, 16, nbytes=124),
        INVALID,
        ("input 'x'", "[2,16] x 4 bytes of FP32 = 128 bytes", "got 124", "as many elements"),
    ),
    "too many bytes": (shaped(2, 16, nbytes=132), INVALID, ("input 'x'", "128 bytes", "got 132")),
    "no bytes": (shaped(2, 16, nbytes=0), INVALID, ("input 'x'", "128 bytes", "got 0")),
    "no contents at all": (changed(lambda r: r.ClearField("raw_input_contents")), INVALID, ("input 'x'", "128 bytes", "got 0")),
    "raw contents missing": (
        changed(lambda r: r.raw_input_contents.pop(), "add", a=rows(1), b=rows(1)),
        INVALID,
        ("1 raw_input_contents for 2 inputs", "one for each input", "in the order of inputs"),
    ),
    "raw contents in excess": (
        changed(lambda r: r.raw_input_contents.append(b"")),
        INVALID,
        ("2 raw_input_contents for 1 inputs", "one for each"),
    ),
    "raw contents without inputs": (
        Request(model_name="identity", raw_input_contents=[b"1234"]),
        INVALID,
        ("1 raw_input_contents for 0 inputs",),
    ),
    "raw and typed of one input": (
        changed(lambda r: r.inputs[0].contents.fp32_contents.extend([1.0] * 32)),
        INVALID,
        ("input 'x'", "raw_input_contents", "one way or the other"),
    ),
    "raw of one, typed of another": (
        changed(lambda r: (r.raw_input_contents.pop(), r.inputs[1].contents.fp32_contents.extend([1.0] * 16)), "add", a=rows(1), b=rows(1)),
        INVALID,
        ("raw_input_contents",),
    ),
    # typed contents
    "typed in another field": (
        typed("identity", "fp64_contents", [1.0] * 16, (1, 16), "FP32"),
        INVALID,
        ("input 'x'", "fp64_contents", "fp32_contents"),
    ),
    "typed half floats": (typed("half", "fp32_contents", [1.0] * 4, (1, 4), "FP16"), INVALID, ("input 'x'", "FP16", "raw_input_contents")),
    "too few typed elements": (
        typed("identity", "fp32_contents", [1.0] * 15, (1, 16), "FP32"),
        INVALID,
        ("input 'x'", "64 bytes", "got 60"),
    ),
    "too many typed elements": (
        typed("identity", "fp32_contents", [1.0] * 17, (1, 16), "FP32"),
        INVALID,
        ("input 'x'", "16 elements", "FP32[1,16]", "fp32_contents", "got more"),
    ),
    "typed element out of range": (
        typed("small", "int_contents", [1, 2, 3, 128], (1, 4), "INT8"),
        INVALID,
        ("input 'x'", "INT8", "-128 to 127", "128"),
    ),
    "typed element below range": (
        typed("small", "int_contents", [1, 2, 3, -129], (1, 4), "INT8"),
        INVALID,
        ("INT8", "-128 to 127", "-129"),
    ),
    # text
    "length beyond the end": (text_tensor(struct.pack("<I", 9) + b"ab" + pack_text([b"x"])), INVALID, ("input 'x'", "element 0", "length")),
    "length of 4 GiB": (text_tensor(struct.pack("<I", 0xFFFFFFFF) + b"ab"), INVALID, ("input 'x'", "element 0", "length")),
    "cut length": (text_tensor(pack_text([b"ab"]) + b"\1\0"), INVALID, ("input 'x'", "element 1", "4 bytes")),
    "too few elements": (text_tensor(pack_text([b"ab"])), INVALID, ("input 'x'", "[1,2]", "got 1")),
    "too many elements": (text_tensor(pack_text([b"a", b"b", b"c"])), INVALID, ("input 'x'", "[1,2]", "got more")),
    "no elements": (text_tensor(b""), INVALID, ("input 'x'", "[1,2]", "got 0")),
    "text that is not UTF-8": (text_tensor(pack_text([b"ok", b"\xff\xfe"])), INVALID, ("input 'x'", "element 1", "UTF-8", "UINT8")),
    # parameters
    "reserved parameter": (
        with_parameter("triton_mine", bool_param=True),
        INVALID,
        ("'triton_mine'", "reserved", "triton_enable_empty_final_response"),
    ),
    "priority in words": (with_parameter("priority", string_param="high"), INVALID, ("'priority'", "uint64_param", "'high'")),
    "provenance in words": (with_parameter("provenance", string_param="yes"), INVALID, ("'provenance'", "bool_param")),
    "negative timeout beside provenance": (
        changed(
            lambda r: [r.parameters["provenance"].__setattr__("bool_param", True), r.parameters["timeout"].__setattr__("int64_param", -1)]
        ),
        INVALID,
        ("'timeout'", "0 or more", "-1"),
    ),
    "negative timeout": (with_parameter("timeout", int64_param=-1), INVALID, ("'timeout'", "0 or more", "-1")),
    "a thousand parameters": (
        changed(lambda r: [r.parameters[f"p{i}"].CopyFrom(inference.InferParameter(bool_param=True)) for i in range(1000)]),
        INVALID,
        ("256 parameters",),
    ),
    "three hundred inputs": (
        changed(
            lambda r: [(r.inputs.add(name=f"x{i}", datatype="FP32", shape=[1]), r.raw_input_contents.append(b"1234")) for i in range(300)]
        ),
        INVALID,
        ("256",),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_told_what_is_wrong(caller: Caller, name: str) -> None:
    request, code, words = WRONG[name]
    status, message = caller.rejected(request)
    assert status == code, message
    assert [word for word in words if word not in message] == [], message
    clean(message)


def test_rejections_are_counted(caller: Caller) -> None:
    before = caller.statistics("identity").inference_stats
    for _ in range(3):
        caller.rejected(WRONG["wrong axis"][0])
    after = caller.statistics("identity").inference_stats
    assert after.fail.count - before.fail.count == 3
    assert after.success.count == before.success.count


# ---- bytes that are no request


def verdict(message: bytes) -> str:
    """What protobuf says: "malformed", or "read"."""
    try:
        Request.FromString(message)
    except DecodeError:
        return "malformed"
    return "read"


def mutations(message: bytes) -> Iterator[bytes]:
    """The message cut at every offset, and every byte of it changed in several ways, inserted and left out."""
    for at in range(len(message)):
        yield message[:at]
        for value in (0x00, 0x7F, 0x80, 0xFF, message[at] ^ 1, message[at] ^ 0x10):
            if value != message[at]:
                yield message[:at] + bytes((value,)) + message[at + 1 :]
        yield message[:at] + b"\xff" + message[at:]
        yield message[:at] + message[at + 1 :]


def answered(caller: Caller, all_messages: Iterator[bytes]) -> Iterator[tuple[bytes, Any]]:
    """Calls, a few hundred at a time: grpc's server rejects streams over its limit instead of letting them wait."""
    while calls := [(message, caller.start(message)) for message in itertools.islice(all_messages, 400)]:
        yield from calls


@pytest.mark.parametrize("kind", ["raw", "typed"])
def test_malformed_at_every_offset(caller: Caller, kind: str) -> None:
    """Whatever one byte does, the response is the one of the codec's oracle, protobuf: rejected where protobuf cannot read it."""
    request = of("add", a=rows(1, first=1), b=rows(1, first=2))
    if kind == "typed":
        request = typed("small", "int_contents", [1, 2, 3, -4], (1, 4), "INT8")
    request.id = "nr. 1"
    request.parameters["mine"].string_param = "ä"
    request.outputs.add(name="sum" if kind == "raw" else "y")
    message = request.SerializeToString()
    malformed = total = 0
    for mutated, call in answered(caller, mutations(message)):
        total += 1
        error = call.exception(30)
        if verdict(mutated) == "malformed":
            malformed += 1
            assert error is not None, mutated
        if error is not None:
            status, text = status_of(error)
            assert status in (INVALID, NOT_FOUND), (mutated, status, text)
            clean(text)
        else:
            answer = inference.ModelInferResponse.FromString(call.result())
            assert answer.model_name in ("add", "small")
    assert malformed > total // 20


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\x0a", ("ModelInferRequest", "at byte 1")),
        (b"\x0a\x05iden", ("ModelInferRequest", "at byte")),
        (b"\xff" * 30, ("ModelInferRequest", "at byte")),
        (b"GET / HTTP/1.1\r\n\r\n", ("ModelInferRequest", "at byte")),
        (b"\x0a\x02\xff\xfe", ("ModelInferRequest", "model_name", "UTF-8")),
    ],
)
def test_no_protobuf(caller: Caller, message: bytes, words: tuple[str, ...]) -> None:
    status, text = caller.rejected(message)
    assert status == INVALID
    assert [word for word in words if word not in text] == [], text
    clean(text)


def test_an_empty_message_names_no_model(caller: Caller) -> None:
    status, text = caller.rejected(b"")
    assert status == NOT_FOUND
    assert "model_name" in text


@pytest.mark.parametrize("method", [f"/{SERVICE}/ModelMetadata", f"/{SERVICE}/ModelStatistics", "/grpc.health.v1.Health/Check"])
def test_malformed_requests_of_other_methods(caller: Caller, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        caller.channel.unary_unary(method)(b"\x0a\xff\xff\xff\xff\xff", timeout=30)
    status, text = status_of(caught.value)
    assert status == INVALID
    assert method.rpartition("/")[2] in text
    assert "6 bytes" in text
    clean(text)


@pytest.mark.parametrize(
    "method",
    [
        f"/{SERVICE}/NoSuch",
        "/no.Such/Method",
        "/x",
        f"/{SERVICE}/ModelInfer/",
        f"/{SERVICE}/modelinfer",
        f"/{SERVICE}/CudaSharedMemoryStatus",
    ],
)
def test_unknown_methods(caller: Caller, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        caller.channel.unary_unary(method)(b"", timeout=30)
    status, text = status_of(caught.value)
    assert status == "UNIMPLEMENTED"
    assert method.rpartition("/")[2] in text
    assert ("instead" in text) or ("expected one of" in text) or ("not built" in text)
    clean(text)


def test_an_oversize_message(caller: Caller) -> None:
    message = Request(model_name="identity", raw_input_contents=[bytes(MAX_MESSAGE_BYTES)]).SerializeToString()
    status, text = caller.rejected(message)
    assert status == "RESOURCE_EXHAUSTED"
    assert str(MAX_MESSAGE_BYTES) in text
    assert str(len(message)) in text
    clean(text)


def test_a_message_of_just_the_limit_is_read(caller: Caller) -> None:
    request = of(x=rows(1))
    request.parameters["mine"].string_param = ""
    filler = MAX_MESSAGE_BYTES - request.ByteSize()
    for slack in range(8):  # the lengths around the filler take some bytes themselves
        request.parameters["mine"].string_param = "x" * (filler - slack)
        if request.ByteSize() == MAX_MESSAGE_BYTES:
            break
    assert request.ByteSize() == MAX_MESSAGE_BYTES
    same(outputs_of(caller.infer(request)), {"y": rows(1)})


# ---- framing, below what a gRPC library would send. What grpcio itself answers there is its own; that nobody else is disturbed is not.

MESSAGE = of(x=rows(1)).SerializeToString()
FRAMING: dict[str, tuple[bytes, int, tuple[str, ...]]] = {
    "cut message": (framed(MESSAGE, nbytes=len(MESSAGE) + 10), 3, ("10 bytes before",)),
    "cut prefix": (b"\0\0\0", 3, ("5-byte prefix", "got 3 bytes")),
    "no message": (b"", 12, ("expected one request message", "none")),
    "two messages": (framed(MESSAGE) * 2, 12, ("one request message", "more")),
    "bytes behind the message": (framed(MESSAGE) + b"\0", 12, ("one request message", "more")),
    "compressed without an encoding": (framed(MESSAGE, compressed=1), 13, ("compressed flag", "grpc-encoding: gzip or deflate")),
    "flag of 2": (framed(MESSAGE, compressed=2), 13, ("flag", "0 or 1", "2")),
    "4 GiB promised": (framed(b"xx", nbytes=0xFFFFFFFF), 8, (str(MAX_MESSAGE_BYTES), "4294967295")),
    "one byte over the limit promised": (
        framed(b"xx", nbytes=MAX_MESSAGE_BYTES + 1),
        8,
        (str(MAX_MESSAGE_BYTES), str(MAX_MESSAGE_BYTES + 1)),
    ),
}


@pytest.mark.parametrize("name", FRAMING)
def test_framing(server: ServerFixture, name: str) -> None:
    """grpc.aio leaves some of these without a response: there, only what follows is looked at."""
    body, code, words = FRAMING[name]
    with Peer(server.address) as peer:
        stream = peer.open()
        peer.data(stream, body, end=True)
        if server.transport == "native":
            answer = peer.wait(stream)
            assert answer.status == code, answer
            assert [word for word in words if word not in answer.message] == [], answer.message
            clean(answer.message)
        follows = peer.call(framed(MESSAGE))  # the connection is as good as before
        assert follows.status == 0
        same(outputs_of(inference.ModelInferResponse.FromString(follows.body[5:])), {"y": rows(1)})


def test_an_oversize_upload_is_rejected_before_it_is_sent(server: ServerFixture) -> None:
    """The prefix is enough to know: the response comes while the client still sends, and the rest is not kept."""
    with Peer(server.address) as peer:
        stream = peer.open()
        peer.data(stream, framed(b"", nbytes=64 * MAX_MESSAGE_BYTES) + bytes(1000))
        answer = peer.wait(stream)
        assert answer.status == 8


@pytest.mark.parametrize("value", ["", "5", "m", "123456789m", "-5m", "1.5S", "5 m", "5x", "999999999999999999999H", "0x5m"])
def test_a_bad_timeout(server: ServerFixture, value: str) -> None:
    with Peer(server.address) as peer:
        answer = peer.call(framed(MESSAGE), extra=(("grpc-timeout", value),))
        assert answer.over
        if server.transport == "native":
            assert answer.status == 3
            assert [word for word in ("grpc-timeout", "1 to 8 digits", "n, u, m, S, M or H") if word not in answer.message] == []
        assert peer.call(framed(MESSAGE)).status == 0


@pytest.mark.parametrize("value", ["99999999H", "99999999n", "10S", "00000010S"])
def test_an_unusual_timeout_is_one(server: ServerFixture, value: str) -> None:
    with Peer(server.address) as peer:
        status = peer.call(framed(MESSAGE), extra=(("grpc-timeout", value),)).status
        assert status == 0 or (status == 4 and value.endswith("n")), "0.1 s, which a busy machine may not have"


def test_a_timeout_of_nothing_is_expired(server: ServerFixture) -> None:
    with Peer(server.address) as peer:
        answer = peer.call(framed(of("slow", x=rows(1, 64)).SerializeToString()), extra=(("grpc-timeout", "1n"),))
        assert answer.status == 4 or answer.reset is not None


@pytest.mark.parametrize(
    ("options", "http_status", "word"),
    [
        ({"method": "GET", "end": True}, 405, "POST"),
        ({"content_type": "text/html"}, 415, "application/grpc"),
        ({"content_type": "application/json"}, 415, "application/grpc"),
        ({"content_type": "application/grpcx"}, 415, "application/grpc"),
        ({"content_type": None}, 415, "application/grpc"),
    ],
)
def test_http2_that_is_not_grpc(server: ServerFixture, options: dict[str, Any], http_status: int, word: str) -> None:
    with Peer(server.address) as peer:
        stream = peer.open(**options)
        if not options.get("end"):
            peer.data(stream, framed(MESSAGE), end=True)
        answer = peer.wait(stream)
        if server.transport == "native":
            assert answer.http_status == http_status
            assert word in answer.body.decode()
        else:
            assert answer.over
        assert peer.call(framed(MESSAGE)).status == 0


@pytest.mark.parametrize("path", ["", "/", "//", "/" + "x" * 4000, "/%2e%2e/etc/passwd", "*"])
def test_odd_paths(server: ServerFixture, path: str) -> None:
    with Peer(server.address) as peer:
        answer = peer.call(framed(MESSAGE), path)
        assert answer.status != 0
        clean(answer.message or "none")
        if not peer.closed:
            assert peer.call(framed(MESSAGE)).status == 0


def test_too_much_metadata(server: ServerFixture, caller: Caller) -> None:
    """Rejected, and for the next request the connection is as good as before."""
    with pytest.raises(grpc.RpcError) as caught:
        caller.infer(of(x=rows(1)), metadata=(("x-much", "x" * 20_000),))
    assert status_of(caught.value)[0] == "RESOURCE_EXHAUSTED"
    same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
    if server.transport == "native":  # with Huffman codes, grpc's server lets more through than it says
        with Peer(server.address) as peer:
            answer = peer.call(framed(MESSAGE), extra=(("x-much", "x" * 15_000), ("x-more", "x" * 2_000)))
            assert answer.status == 8
            assert [word for word in ("metadata", "max_header_bytes", "16384") if word not in answer.message] == []
            clean(answer.message)
            assert peer.call(framed(MESSAGE)).status == 0


# ---- who does not speak HTTP/2


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"SSH-2.0-OpenSSH_9.2\r\n",
        bytes(64),
        bytes(range(256)) * 8,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    ],
    ids=["http-get", "http-post", "tls", "ssh", "zeros", "noise", "preface-and-noise"],
)
def test_what_is_no_http2_ends_its_own_connection_only(server: ServerFixture, content: bytes, witness: Callable[[], None]) -> None:
    found = exchange(server.address, content)
    witness()
    assert b"Traceback" not in found
    if server.transport == "native" and not content.startswith(b"PRI"):
        assert b"HTTP/1.1 505 " in found
        assert b"gRPC over HTTP/2" in found
        assert b"Connection: close" in found


# ---- clients that vanish


@pytest.mark.parametrize("sent", ["nothing", "headers", "half the prefix", "half the message", "all"])
def test_a_client_that_vanishes(server: ServerFixture, sent: str, witness: Callable[[], None]) -> None:
    """Mid-way through anything; what it left is given back, which `witness` checks."""
    message = framed(of("slow", x=rows(1, 64)).SerializeToString() + bytes(0))
    for _ in range(5):
        peer = Peer(server.address)
        if sent != "nothing":
            stream = peer.open()
            cut = {"headers": 0, "half the prefix": 3, "half the message": len(message) // 2, "all": len(message)}[sent]
            peer.data(stream, message[:cut], end=sent == "all")
            peer.ping()
        peer.vanish()
        witness()


def test_a_client_that_vanishes_in_a_large_message(server: ServerFixture, witness: Callable[[], None]) -> None:
    peers = [Peer(server.address) for _ in range(4)]
    for peer in peers:
        stream = peer.open()
        peer.data(stream, framed(bytes(MAX_MESSAGE_BYTES // 4), nbytes=MAX_MESSAGE_BYTES))
    for peer in peers:
        peer.vanish()
    witness()


def test_a_client_that_resets_its_streams(server: ServerFixture) -> None:
    with Peer(server.address) as peer:
        for _ in range(50):
            stream = peer.open()
            peer.data(stream, framed(of("slow", x=rows(1, 64)).SerializeToString()), end=True)
            peer.h2.reset_stream(stream, 8)
            peer.send()
        assert peer.call(framed(MESSAGE)).status == 0


def test_both_ends_of_a_call_are_kept_apart(caller: Caller) -> None:
    """A rejected request between good ones on one connection, at the same time."""
    good = [of(x=rows(1, first=number)).SerializeToString() for number in range(100)]
    bad = [request.SerializeToString() for request, _, _ in WRONG.values()]
    calls = [(number, caller.start(message), caller.start(bad[number % len(bad)])) for number, message in enumerate(good)]
    for number, call, rejected in calls:
        same(outputs_of(inference.ModelInferResponse.FromString(call.result(30))), {"y": rows(1, first=number)})
        assert rejected.exception(30) is not None
