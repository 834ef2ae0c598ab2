"""Counting instructions: what a dump of callgrind says, which group a function is in, and when a total has grown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import callgrind
import instructions
from callgrind import Profile
from record import Report

DUMP = Path(__file__).with_name("nghttpd.callgrind")  # of nghttpd, which sent four responses
CORE = "/x/inferd/_core"


def test_a_dump_is_read_whole() -> None:
    lines = DUMP.read_text().splitlines()
    summary = next(line for line in lines if line.startswith("summary: "))  # what callgrind itself counted
    profile = callgrind.parse(lines)
    assert profile.instructions.total() == int(summary.split()[1])
    figures = instructions.figures(profile)
    assert figures["requests"] == 4
    assert figures["total"] == round(profile.instructions.total() / 4)
    assert sum(figures["groups"].values()) == pytest.approx(figures["total"], rel=0.001)
    assert set(figures["groups"]) == {"nghttp2", "clock", "libc", "nghttpd"}
    assert figures["groups"]["nghttp2"] > figures["groups"]["nghttpd"] > figures["groups"]["libc"] > figures["groups"]["clock"] > 0
    assert figures["calls"] == {"clock reads": 2.0, "event loop iterations": 0.5, "reads": 0.25, "writes": 0.25}


def test_costs_of_calls_are_those_of_the_function_that_is_called() -> None:
    text = """\
events: Ir Dr
ob=(1) /lib/a.so
fl=(1) a.c
fn=(1) caller
3 10 4
cfn=(2) near
calls=2 7
+1 500 9
cob=(2) /lib/b.so
cfi=(2) b.c
cfn=(3) far
calls=3 1
* 900 9
-2 5
+1
fn=(2)
7 500
ob=(2)
fn=(3)
1 900
fn=(1)
1 1
"""
    profile = callgrind.parse(text.splitlines())
    assert profile.instructions == {
        ("/lib/a.so", "caller"): 15,
        ("/lib/a.so", "near"): 500,
        ("/lib/b.so", "far"): 900,
        ("/lib/b.so", "caller"): 1,
    }
    assert profile.calls == {("/lib/a.so", "near"): 2, ("/lib/b.so", "far"): 3}
    assert profile.called("near", "far") == 5


@pytest.mark.parametrize(
    ("path", "name", "group"),
    [
        ("/usr/lib/libnghttp2.so.14.28.3", "nghttp2_session_mem_send2", "nghttp2"),
        ("/venv/onnxruntime/capi/onnxruntime_pybind11_state.so", "0x5bea40", "ONNX Runtime"),
        ("/venv/lib/python3.11/site-packages/uvloop/loop.so", "uv__io_poll", "event loop"),
        ("/usr/lib/libc.so.6", "clock_gettime@@GLIBC_2.17", "clock"),
        ("/usr/lib/libc.so.6", "__memcpy_avx_unaligned_erms", "libc"),
        ("/usr/lib/libpython3.11.so.1.0", "_PyEval_EvalFrameDefault", "Python interpreter"),
        ("/usr/bin/python3.13", "_PyEval_EvalFrameDefault", "Python interpreter"),
        (f"{CORE}/batching/anything.so", "put", "batcher"),
        (f"{CORE}/codec/infer.so", "decode", "decode, check, encode, statistics"),
        (f"{CORE}/grpc/call.so", "feed", "call objects"),
        (f"{CORE}/grpc/message.so", "release_block", "gRPC framing and messages"),
        (f"{CORE}/http2/headers.so", "read", "headers"),
        (f"{CORE}/net/stream_socket.so", "__pyx_f_6inferd_5_core_3net_13stream_socket_12StreamSocket_take_turn", "scheduling and limits"),
        (f"{CORE}/http2/session.so", "__pyx_f_6inferd_5_core_5http2_7session_on_frame", "HTTP/2 session"),
        (f"{CORE}/net/server_state.so", "__pyx_f_6inferd_5_core_3net_12server_state_11ServerState_flush", "send"),
        ("/usr/lib/libunheard.so.1", "f", "other"),
    ],
)
def test_a_function_has_one_group(path: str, name: str, group: str) -> None:
    assert instructions.group_of((path, name)) == group


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("__pyx_f_6inferd_5_core_5http2_7session_7Session_take_turn", "Session.take_turn"),
        ("__pyx_f_6inferd_5_core_5codec_5infer_encode", "encode"),
        ("__pyx_tp_dealloc_6inferd_5_core_4grpc_4call_Call", "Call"),
        ("PyObject_Vectorcall", "PyObject_Vectorcall"),
    ],
)
def test_names_of_cython_are_shown_without_its_packages(name: str, plain: str) -> None:
    assert instructions.plain(name) == plain


def test_the_costliest_functions_of_a_group_are_listed() -> None:
    profile = Profile()
    profile.calls["/libnghttp2.so", "nghttp2_submit_response2"] = 2
    profile.instructions.update({("/libc.so.6", "memcpy"): 8, ("/new.so", "f"): 6, ("/new.so", "g"): 4, ("/new.so", "h"): 2})
    assert [line.split()[0] for line in instructions.costly(profile, 2, instructions.OTHER)] == ["3.0", "2.0"]


def test_a_stretch_without_a_response_has_no_figures() -> None:
    with pytest.raises(RuntimeError, match="no response"):
        instructions.figures(Profile())


def results(total: int) -> dict[str, Any]:
    return {"inline": {"4x16": {"total": total}, "8x1": {"total": 1000}}}


@pytest.mark.parametrize(("total", "kept"), [(900, True), (1030, True), (1031, False)])
def test_a_total_may_grow_by_three_percent(total: int, kept: bool) -> None:
    report = Report(1, 0.0)
    instructions.compare(report, results(1000), results(total))
    assert report.kept is kept
    assert len(report.rows) == 2


def test_what_history_does_not_have_is_not_compared() -> None:
    report = Report(1, 0.0)
    instructions.compare(report, {"inline": {"4x16": {"total": 1}}}, {"inline": {"64x1": {"total": 2}}, "executor": {"4x16": {"total": 2}}})
    assert report.rows == []


def test_the_newest_line_of_the_same_versions_is_compared_with(tmp_path: Path) -> None:
    history = tmp_path / "instructions.jsonl"
    versions = dict.fromkeys(instructions.COMPARABLE, "1")
    assert instructions.comparable(history, versions) is None
    lines = [{"commit": "a", "versions": versions}, {"commit": "b", "versions": versions | {"numpy": "2"}}]
    lines += [{"commit": "c", "versions": versions | {name: "2"}} for name in versions]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = instructions.comparable(history, versions)
    assert found is not None
    assert found["commit"] == "b"
