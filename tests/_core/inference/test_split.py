"""Which requests a canary's candidate gets: by key, by chance, and by no means those that name a version."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from native_access import chooses, head_of

from inferd._core.batching.batcher import Batcher
from inferd._core.inference.batched_route import BatchedRoute
from inferd._core.inference.split import Split
from inferd._core.metrics.histogram import Statistics
from inferd._core.rest.decode import decode_rest_request
from inferd._core.tensor.signature import Signature
from inferd.protocol import inference as pb
from tests._core.inference.test_path import HOUR_NS, Asked, Instance
from tests._core.inference.test_rest_path import Asked as RestAsked
from tests._core.inference.test_rest_path import RestWorld, body_of

KEYS = [f"tenant-{i}".encode() for i in range(4000)]


def chosen(share: float, salt: str = "a") -> set[bytes]:
    split = Split(object(), salt, share)
    return {key for key in KEYS if chooses(split, key)}


class TestSplit:
    def test_nobody_flips_back_as_the_share_grows(self) -> None:
        sets = [chosen(share) for share in (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)]
        assert all(before < after for before, after in pairwise(sets))
        assert (len(sets[0]), len(sets[-1])) == (0, len(KEYS))

    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
    def test_the_share_is_exact(self, share: float) -> None:
        split, count = Split(object(), "a", share), 20_000
        by_chance = sum(chooses(split) for _ in range(count))
        for found, asked in ((by_chance, count), (len(chosen(share)), len(KEYS))):
            assert abs(found / asked - share) < 5 * (share * (1 - share) / asked) ** 0.5

    def test_a_restart_and_another_process_choose_the_same_and_another_rollout_does_not(self) -> None:
        assert chosen(0.1) == chosen(0.1)
        common = chosen(0.5) & chosen(0.5, "b")
        assert abs(len(common) / len(KEYS) - 0.25) < 0.05

    def test_places_stay_where_they_are_in_later_versions(self) -> None:
        split = Split(object(), "0123456789abcdef", 0.5)
        assert [key for key in "abcdefgh" if chooses(split, key.encode())] == ["c", "d", "f"]

    @pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
    def test_a_share_that_is_none(self, share: float) -> None:
        with pytest.raises(ValueError, match="share: expected 0 to 1"):
            Split(object(), "a", share)


class SplitWorld(RestWorld):
    """Version 3 is stable, version 4 the candidate."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.signature = Signature("double", "4", [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))], 8)
        queue = Batcher(8, Statistics(8), name="'double' version 4")
        self.candidate = BatchedRoute(self, self.signature, queue, Instance("double", self.backend), self.scheduled.append)
        self.candidate.inline, self.candidate.turn_ns = True, HOUR_NS
        self.routes.fill({("double", "3"): self.route, ("double", ""): self.route, ("double", "4"): self.candidate})
        self.route.split = Split(self.candidate, "a", share)

    def version_of(self, call: Any) -> str:
        self.turn()
        return str(call.response.model_version)

    def infer(self, version: str = "", key: int = 0, **parameters: pb.InferParameter) -> str:
        call = Asked("double", version, parameters=parameters)
        call.key = key
        self.model_infer(call)
        return self.version_of(call)


def text(value: str) -> pb.InferParameter:
    return pb.InferParameter(string_param=value)


class TestPath:
    def test_requests_without_a_version_follow_their_key_and_others_their_version(self) -> None:
        world = SplitWorld()
        split = Split(object(), "a", 0.5)
        for key in KEYS[:20]:
            expected = "4" if chooses(split, key) else "3"
            assert world.infer(inferd_key=text(key.decode())) == expected
            assert world.infer("3", inferd_key=text(key.decode())) == "3"
            assert world.infer("4", inferd_key=text(key.decode())) == "4"

    def test_rest_and_grpc_agree_wherever_the_key_is(self) -> None:
        world = SplitWorld()
        for key in KEYS[:20]:
            expected = world.infer(inferd_key=text(key.decode()))
            for call in (
                RestAsked(body_of(), inferd_key=key.decode()),
                RestAsked(body_of(parameters={"inferd_key": key.decode()})),
            ):
                world.rest_infer(call, call.head)
                world.turn()
                assert call.response is not None
                assert f'"model_version":"{expected}"'.encode() in call.response
            assert world.infer(key=head_of("POST", "/", [("Inferd-Key", key)]).key) == expected

    def test_a_number_is_a_key_like_its_digits(self) -> None:
        world = SplitWorld()
        for number in range(20):
            expected = world.infer(inferd_key=text(str(number)))
            assert world.infer(inferd_key=pb.InferParameter(int64_param=number)) == expected
            assert world.infer(inferd_key=pb.InferParameter(uint64_param=number)) == expected
            call = RestAsked(body_of(parameters={"inferd_key": number}))
            world.rest_infer(call, call.head)
            world.turn()
            assert call.response is not None
            assert f'"model_version":"{expected}"'.encode() in call.response

    @pytest.mark.parametrize("value", [text(""), pb.InferParameter(bool_param=True), pb.InferParameter(double_param=0.5), None])
    def test_a_key_that_is_missing_or_none_leaves_it_to_chance(self, value: pb.InferParameter | None) -> None:
        world = SplitWorld()
        parameters = {} if value is None else {"inferd_key": value}
        assert {world.infer(**parameters) for _ in range(40)} == {"3", "4"}

    def test_the_last_of_a_repeated_key_counts_and_a_tensor_has_none(self) -> None:
        head = head_of("POST", "/", [("inferd-key", "")])
        assert head.key == 0
        body = body_of()
        body["inputs"][0]["parameters"] = {"inferd_key": "a"}
        assert decode_rest_request(json.dumps(body).encode(), head_of("POST", "/v2/models/double/infer")).key == 0


class TestArm:
    def test_responses_of_a_version_in_a_rollout_name_the_arm(self) -> None:
        """Also those that begin like the one before, and after the rollout none does."""
        world = SplitWorld(0.0)
        field = pb.ModelInferResponse(parameters={"rollout_arm": text("stable")}).SerializeToString()
        for arm in (None, field, None):
            world.route.signature.arm = arm
            calls = [Asked("double", id=f"request {i}") for i in range(3)]
            for call in calls:
                world.model_infer(call)
            world.turn()
            for i, call in enumerate(calls):
                told = dict(call.response.parameters)
                assert told == ({} if arm is None else {"rollout_arm": text("stable")})
                assert (call.response.id, call.value) == (f"request {i}", 2)
        assert np.all(np.array(world.backend.rows) == 3)

    def test_rest_names_it_too_beside_what_made_the_response(self) -> None:
        world = SplitWorld(0.0)
        world.route.signature.arm = pb.ModelInferResponse(parameters={"rollout_arm": text("stable")}).SerializeToString()
        world.route.signature.provenance = pb.ModelInferResponse(parameters={"sha256": text("ab")}).SerializeToString()
        try:
            for asked, told in (({}, {"rollout_arm": "stable"}), ({"provenance": True}, {"rollout_arm": "stable", "sha256": "ab"})):
                call = RestAsked(body_of(parameters=asked))
                world.rest_infer(call, call.head)
                world.turn()
                assert json.loads(call.response)["parameters"] == told
        finally:
            world.route.signature.arm = world.route.signature.provenance = None
