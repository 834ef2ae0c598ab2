"""Which batches a configuration asks for. tests/engine/test_model.py and test_preparer.py have the queues of models that serve."""

from __future__ import annotations

from typing import Any

from inferd.engine.running.queues import batching_of
from inferd.protocol import inference


def test_batching_of_a_configuration() -> None:
    assert batching_of(inference.ModelConfig()) == {"max_rows": 1, "max_queue_requests": 4096, "max_queue_bytes": 0, "max_wait_ns": 0}
    policy = {"default_timeout_microseconds": 5, "allow_timeout_override": True, "max_queue_size": 7}
    batching = dict[str, Any](
        max_queue_delay_microseconds=100,
        preferred_batch_size=[2, 4],
        priority_levels=2,
        default_priority_level=2,
        default_queue_policy=policy,
        priority_queue_policy={1: {"default_timeout_microseconds": 2**64 - 1}},
    )
    own = {"max_queue_requests": 10, "max_queue_bytes": 1000, "max_queue_wait_us": 7}
    written = inference.ModelConfig(max_batch_size=8, dynamic_batching=batching, inferd=own)
    assert batching_of(written) == {
        "max_rows": 8,
        "max_delay_ns": 100_000,
        "preferred_rows": (2, 4),
        "max_queue_requests": 10,
        "max_queue_bytes": 1000,
        "max_wait_ns": 7000,
        "priority_levels": 2,
        "default_priority": 2,
        "queue_policies": [(0, 1000 * 2**50, False), (7, 5000, True)],
    }
