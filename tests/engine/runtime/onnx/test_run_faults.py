"""Which failed runs are a request's fault, and what its client reads."""

from __future__ import annotations

from inferd.engine.runtime.onnx.run_faults import rejection_of

FAILED = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running {} node. Name:'a b' Status Message: {}"


def test_which_failures_are_rejections() -> None:
    def told(text: str) -> str:
        return str(rejection_of(RuntimeError(text), frozenset({"DecodeImage"}), "m", ["image"]))

    words = "at /home/us/decode.cc:12 bad\nfile C:\\x"
    assert told(FAILED.format("DecodeImage", words)) == (
        "model 'm': its operator DecodeImage rejected what was sent (at bad file): send what that operator takes in 'image'"
    )
    assert len(told(FAILED.format("DecodeImage", "x " * 10000))) < 500
    arena = "1: /onnxruntime_src/core/framework/bfc_arena.cc:360 void* Failed to allocate memory for requested buffer of size 1200000000\n"
    for memory in ("std::bad_alloc", "std::bad_array_new_length", arena):
        assert told(FAILED.format("DecodeImage", memory)) == "None"
        assert "rejected what was sent" in told(FAILED.format("DecodeImage", f"{memory} is no picture")), "words of the client's own"
    for text in (FAILED.format("Reshape", words), "DecodeImage", ""):
        assert told(text) == "None"
    assert rejection_of(RuntimeError(FAILED.format("DecodeImage", words)), frozenset(), "m", ["image"]) is None
