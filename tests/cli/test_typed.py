"""The command of a report: what a shell takes, without a secret."""

from __future__ import annotations

import shlex

from inferd.cli.typed import typed


def test_the_values_of_metadata_are_no_part_of_it() -> None:
    words = ["host:1", "m", "--metadata", "authorization=Bearer SECRET", "--metadata=x=SECRET", "--fail-if", "p99>5ms"]
    said = typed("bench", words)
    assert shlex.split(said) == [
        *("inferd", "bench", "host:1", "m", "--metadata", "authorization=***", "--metadata=x=***"),
        *("--fail-if", "p99>5ms"),
    ]
