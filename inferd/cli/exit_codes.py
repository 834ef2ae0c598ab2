"""The exit codes of all commands: one table, which the commands, their --help and docs/configuration.md share.

A code means the same for every command, and COMMANDS says what it means for each. Never in here: what a command finds.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    UNABLE = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


OK, FAILED, USAGE, UNABLE, INCONCLUSIVE, INTERRUPTED = ExitCode

MEANINGS = {
    OK: "done, and the verdict, if there is one, is good",
    FAILED: "the verdict is bad, a request was rejected, or something that was asked for is not there",
    USAGE: "a wrong flag, setting, model configuration or file; nothing was done",
    UNABLE: "it could not begin: a port, memory, a right or a library is missing",
    INCONCLUSIVE: "it was done, and there is no verdict: measure longer, or with more data",
    INTERRUPTED: "Ctrl-C; a measurement also on SIGTERM and SIGHUP, after its report",
}

# The words of `inferd bench`, `bench compare`, `tune` and `diff`. A load that was only measured is no question, so BEHIND, DEGRADED and
# CLIENT-BOUND describe it and fail nothing: --fail-if and --fail-on are for that.
VERDICTS = {
    "OK": OK,
    "SLO KEPT": OK,
    "BETTER": OK,
    "NO CHANGE": OK,
    "SAME": OK,
    "BEHIND": OK,
    "DEGRADED": OK,
    "CLIENT-BOUND": OK,
    "SLO MISSED": FAILED,
    "WORSE": FAILED,
    "FAILED": FAILED,
    "INCONCLUSIVE": INCONCLUSIVE,
}

ASKS = {OK: "the server did it", FAILED: "the server rejected it, or there is no server"}
# USAGE and INTERRUPTED mean the same everywhere, and so does FAILED where stdout cannot be written.
COMMANDS: dict[str, dict[ExitCode, str]] = {
    "serve": {
        OK: "told to stop, and drained",
        FAILED: "workers crashed too often",
        UNABLE: "a port in use, a model, provider or library that is missing",
    },
    "infer": {OK: "a response", FAILED: "the request was rejected, or there is no server", UNABLE: "a library is missing"},
    "check": {OK: "all can be served", FAILED: "something cannot"},
    "profile": {OK: "written", FAILED: "the model rejected a row, or the file cannot be written", UNABLE: "a library is missing"},
    "drift": {
        OK: "QUIET: nothing has moved",
        FAILED: "FOUND: something has; or there is no profile, or no server",
        INCONCLUSIVE: "COUNTING: too few rows have come",
    },
    "diff": {
        OK: "SAME",
        FAILED: "WORSE",
        UNABLE: "an error kept the two from being compared",
        INCONCLUSIVE: "INCONCLUSIVE: too few requests, or too much noise",
    },
    "bench": {
        OK: "no request failed, or the SLO is kept",
        FAILED: "requests failed, WORSE, SLO MISSED, --fail-if, --fail-on, or no server",
        UNABLE: "a library is missing, or the server took no connection for the load",
        INCONCLUSIVE: "INCONCLUSIVE",
    },
    "bench compare": {
        OK: "BETTER or NO CHANGE",
        FAILED: "WORSE; with --fail-on-unclear also an unclear figure",
        INCONCLUSIVE: "INCONCLUSIVE",
    },
    "bench report": {OK: "shown"},
    "tune": {
        OK: "the best is known, also where that is the model as it is now",
        FAILED: "no settings keep the target",
        UNABLE: "the model cannot be served as it is",
        INCONCLUSIVE: "INCONCLUSIVE: the budget was too short, or the rounds differ too much",
    },
    "health": {OK: "SERVING", FAILED: "all else, no response included"},
    "models": ASKS,
    "rollout": ASKS,
    "feedback": {OK: "all labels were sent, whatever their fate", FAILED: "the server rejected some, or there is no server"},
    "performance": {OK: "shown", FAILED: "the server rejected it, or there is no server"},
    "record": {OK: "shown or written", FAILED: "a file that cannot be written"},
    "drain": {OK: "the server has ended", FAILED: "it did not end in time, or was cut off"},
    "features": {
        OK: "written, and the responses are scikit-learn's",
        FAILED: "they differ: nothing is written without --allow-differences",
        UNABLE: "a library is missing",
    },
    "doctor": {OK: "nothing that is asked for is missing", FAILED: "something is"},
    "config": {OK: "shown", FAILED: "a file that the settings name is not there"},
    "completion": {OK: "written"},
    "protos": {OK: "written"},
    "demo": {OK: "all responses came", FAILED: "one did not, or the server did not end cleanly", UNABLE: "a library is missing"},
}


def sentence(command: str) -> str:
    """The codes of a command, for its --help."""
    return "Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in COMMANDS[command].items()) + "."
