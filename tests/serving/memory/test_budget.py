"""How memory is divided, by numbers; and that a server which clients fill as far as they can holds no more than it counts."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from inferd.config import Settings
from inferd.protocol import inference
from inferd.serving.memory import budget
from inferd.serving.memory.budget import CONNECTION_BYTES, MOST_CONNECTIONS, TLS_CONNECTION_BYTES, settled, worst_case
from tests import models
from tests.certificates import Files
from tests.command import FREE_PORTS, Serving
from tests.http2_peer import PREFACE, framed, open_streams
from tests.server_fixtures import LIMIT_S, until

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
CORE = Path(__file__).parents[3] / "inferd" / "_core"  # the sources, which a build elsewhere lacks
AUTO = ("max_connections", "max_total_streams", "message_memory_bytes", "picture_memory_bytes", "max_run_bytes")


def total(settings: Settings, limit_bytes: int) -> int:
    return sum(share.nbytes for share in worst_case(settings, limit_bytes))


@given(
    st.integers(1 * GiB, 1024 * GiB),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_what_is_left_to_inferd_fits(limit_bytes: int, workers: int, tls: bool) -> None:
    """From 1 GiB a worker on, whatever the limit; and something is left for models."""
    settings = Settings(workers=workers, **({"tls_cert": "c", "tls_key": "k"} if tls else {}))
    assert total(settings, limit_bytes * workers) < limit_bytes * workers
    whole = settled(settings, limit_bytes * workers)
    assert whole.max_connections <= MOST_CONNECTIONS
    assert total(settings, limit_bytes * workers) + workers * whole.max_run_bytes <= limit_bytes * workers, "one run of a model fits"


@pytest.mark.parametrize(
    ("limit_bytes", "more", "connections"),
    [(2 * GiB, {}, 1365), (2 * GiB, {"tls_cert": "c", "tls_key": "k"}, 819), (8 * GiB, {}, 5461), (256 * GiB, {}, 10_000), (MiB, {}, 64)],
)
def test_connections_are_a_quarter_of_the_limit(limit_bytes: int, more: dict[str, str], connections: int) -> None:
    assert settled(Settings(**more), limit_bytes).max_connections == connections


@pytest.mark.parametrize("workers", [1, 3])
def test_a_record_counts_in_each_process(workers: int) -> None:
    """Until message_memory_bytes is so large that taps hold their most: two batches of 4 MiB and 16,384 rows, pyarrow's 32 MiB."""
    for memory, held in ((160 * MiB, 10 * MiB), (64 * GiB, 64 * MiB)):
        plain = Settings(workers=workers, message_memory_bytes=workers * memory)
        recording = Settings(workers=workers, message_memory_bytes=workers * memory, record="recorded")
        assert total(recording, 8 * GiB) - total(plain, 8 * GiB) == workers * (held + 48 * MiB)


def test_a_small_budget_of_messages_keeps_few_blocks() -> None:
    for memory, kept in ((64 * MiB, 32 * MiB), (4 * GiB, 2 * budget.KEPT_BYTES)):
        shares = worst_case(Settings(workers=2, max_message_bytes=MiB, message_memory_bytes=memory), 64 * GiB)
        assert [share.nbytes for share in shares if share.what == "messages kept"] == [kept]


def test_what_somebody_chose_stays() -> None:
    chosen = Settings(
        max_connections=7, max_total_streams=8, message_memory_bytes=64 * MiB, picture_memory_bytes=9 * MiB, max_run_bytes=10 * MiB
    )
    assert settled(chosen, GiB) == chosen
    assert settled(settled(Settings(), GiB), 64 * GiB) == settled(Settings(), GiB)
    assert all(getattr(settled(Settings()), name) > 0 for name in AUTO)


def test_the_largest_message_has_room_whatever_the_limit() -> None:
    assert settled(Settings(max_message_bytes=512 * MiB, workers=2), GiB).message_memory_bytes == GiB


def test_constants_are_those_of_native_code() -> None:
    limits = (CORE / "http2" / "limits.pxd").read_text()
    (own,) = re.findall(r"OWN_CALLS = (\d+)", limits)
    assert int(own) == budget.OWN_STREAMS
    (leaving,) = re.findall(r"ASIDE_THREADS = (\d+)", (CORE / "grpc" / "message.pyx").read_text())
    assert int(leaving) == budget.LEAVING_BLOCKS
    (kept,) = re.findall(r"KEPT_NBYTES = (\d+) << 20", (CORE / "grpc" / "message.pyx").read_text())
    assert int(kept) * MiB == budget.KEPT_BYTES


# ---- a real server, filled by clients that send and do not read

CONNECTIONS = 60
WIDE = 250_000  # FP32: a response is a million bytes
ANSWERS = 4  # more than the kernel takes of a connection
UPLOAD = 900_000  # of a message that does not come whole; less than a stream's window
WIDE_OPEN = (1 << 31) - 1
HELD = ("inferd_connection_bytes", "inferd_message_bytes", "inferd_message_kept_bytes")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def filling() -> bytes:
    """All that one client says: windows without end, requests whose responses it does not read, and most of a message."""
    request = inference.ModelInferRequest(model_name="wide")
    request.inputs.add(name="x", datatype="FP32", shape=(1, 1))
    request.raw_input_contents.append(bytes(4))
    message = framed(request.SerializeToString())
    windows = frame(4, 0, 0, struct.pack(">HI", 4, WIDE_OPEN)) + frame(8, 0, 0, struct.pack(">I", WIDE_OPEN - 65_535))
    upload, streams = 2 * ANSWERS + 1, range(1, 2 * ANSWERS, 2)
    asked = b"".join(open_streams(stream, 1) + frame(0, 1, stream, message) for stream in streams)
    beginning = framed(bytes(UPLOAD), nbytes=2 * UPLOAD)
    pieces = (frame(0, 0, upload, beginning[at : at + 16384]) for at in range(0, len(beginning), 16384))
    return PREFACE + windows + asked + open_streams(upload, 1) + b"".join(pieces)


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the address sanitizer takes memory of its own")
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plaintext"])
def test_clients_that_fill_a_server_get_no_more_than_is_counted(tmp_path: Path, tls: bool) -> None:
    """What the metrics count together is an upper bound of what the process holds for clients."""
    files = Files.made(tmp_path / "tls")
    model = models.write(tmp_path, "wide", models.model(
        [helper.make_node("Mul", ["x", "ones"], ["y"])], [("x", "FP32", ("N", 1))], [("y", "FP32", ("N", WIDE))],
        {"ones": np.ones((1, WIDE), np.float32)},
    ))  # fmt: skip
    options = ["--tls-cert", files.cert, "--tls-key", files.key] if tls else []
    content = filling()
    with Serving(tmp_path, model, *FREE_PORTS, *options, "--message-memory-bytes", "2GiB") as server, ExitStack() as stack:
        host, _, port = server.addresses["grpc"].rpartition(":")
        process = psutil.Process(server.process.pid)

        def connect() -> socket.socket:
            plain = socket.socket()
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.settimeout(LIMIT_S)
            plain.connect((host, int(port)))
            return stack.enter_context(context.wrap_socket(plain, server_hostname="localhost") if tls else plain)

        context = ssl.create_default_context(cafile=str(files.ca))
        context.set_alpn_protocols(["h2"])
        connect().sendall(content)  # what the first one costs is the process's
        until(lambda: succeeded(server) == ANSWERS)
        before, first = process.memory_info().rss, counts(server)
        for _ in range(CONNECTIONS):
            connect().sendall(content)
        until(lambda: counts(server)["inferd_received_bytes_total"] >= len(content) * (CONNECTIONS + 1))
        until(lambda: succeeded(server) == ANSWERS * (CONNECTIONS + 1))
        full = counts(server)
        grown = process.memory_info().rss - before
        counted = sum(max(full[name], counts(server)[name]) - first[name] for name in HELD)
        each = TLS_CONNECTION_BYTES if tls else CONNECTION_BYTES
        assert full["inferd_connection_bytes"] == (CONNECTIONS + 1) * each
        assert grown <= counted


def counts(server: Serving) -> dict[str, float]:
    page = urllib.request.urlopen(f"http://{server.addresses['metrics']}/metrics", timeout=LIMIT_S).read().decode()
    return {name: float(value) for name, value in re.findall(r"^(inferd_\w+) (\S+)$", page, re.MULTILINE)}


def succeeded(server: Serving) -> float:
    page = urllib.request.urlopen(f"http://{server.addresses['metrics']}/metrics", timeout=LIMIT_S).read().decode()
    return float(re.findall(r"^nv_inference_request_success\{\S+ (\S+)$", page, re.MULTILINE)[0])
