"""The errors of runs: a cancelled run, contents that an operator rejected, and a fault of the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from inferd.errors import Cancelled, InvalidArgument, RunFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

# onnxruntime's text when an operator failed; `words` is the operator's own text.
_FAILED_NODE = re.compile(r"while running (?P<operator>\S+) node\. Name:'.*' Status Message: (?P<words>.*)", re.DOTALL)
# The beginning of that text, which the model decides. The rest may hold values of the request, even text that matches this again.
_FAILED_FIRST = re.compile(
    r"(\[ONNXRuntimeError\] : \d+ : \w+ : |Error in execution: )?"
    r"Non-zero status code returned while running (?P<operator>\S+) node\. Name:'(?P<node>[^']*)'"
)
# The operator got no memory from C++ or from onnxruntime's arena. The request is not at fault.
_NO_MEMORY = re.compile(r"std::bad_(alloc|array_new_length)|.*Failed to allocate memory for requested buffer of size \d+", re.DOTALL)
_MAX_WORDS = 300  # characters of an operator's own text in an error to a client


def cancelled() -> Cancelled:
    return Cancelled("the run was ended because nobody waits for its response any longer")


def rejection_of(error: Exception, rejecting: frozenset[str], model_name: str, inputs: Sequence[str]) -> InvalidArgument | None:
    """The error for a client whose request one of these operators rejected; None where something else failed."""
    found = _FAILED_NODE.search(str(error)) if rejecting else None
    if found is None or found["operator"] not in rejecting or _NO_MEMORY.fullmatch(found["words"].strip()):
        return None
    words = " ".join(word for word in found["words"].split() if "/" not in word and "\\" not in word)  # no paths
    names = ", ".join(map(repr, inputs))
    return InvalidArgument(
        f"model {model_name!r}: its operator {found['operator']} rejected what was sent ({words:.{_MAX_WORDS}}): "
        f"send what that operator takes in {names:.{_MAX_WORDS}}",
        reason="bad_content",
    )


def run_failure(model_name: str, error: Exception) -> RunFailed:
    """The error of a failed run. The first text is without onnxruntime's, which may hold values of the request."""
    found = _FAILED_FIRST.match(str(error))
    place = f" in operator {found['operator']}, node {found['node']!r}" if found else ""
    memory = ": it got no memory" if _NO_MEMORY.search(str(error)) else ""
    return RunFailed(f"model {model_name!r}: onnxruntime raised {type(error).__name__}{place}{memory}", str(error))
