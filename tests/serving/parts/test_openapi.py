"""/openapi.json describes what this server does: it is valid, its examples are accepted, and responses are as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from inferd._core.tensor.datatypes import DATATYPES
from inferd.rollout.part import RolloutPart
from inferd.serving.parts.inspection.part import InspectionPart
from inferd.serving.parts.live_settings.part import LiveSettingsPart
from inferd.serving.parts.model_control.part import ModelControlPart
from inferd.serving.parts.model_control.rpc import ModelControl
from inferd.serving.parts.pages.part import Pages
from tests import models
from tests.rest import Asker
from tests.server_fixtures import ServerFixture

RAW = Path(__file__).parents[3] / "examples" / "raw"


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = models.repository(
        tmp_path_factory.mktemp("models"),
        {
            "all": models.every_datatype([word for word in DATATYPES if word not in ("BYTES", "FP16", "BF16")]),
            "versions": {1: models.identity(), 3: models.identity("INT64", (2,))},
            "half": models.identity("FP16"),
            "large": models.identity("FP32", (1000,)),
            "words": models.text(),
            "un loaded": models.identity(),
        },
        {"versions": "version_policy { all {} }"},
    )
    kept = str(tmp_path_factory.mktemp("kept"))
    with ServerFixture(RAW, folder, http_port=0, feedback=kept) as server, Asker(server.http) as asker:
        yield asker


@pytest.fixture
def document(asker: Asker) -> Any:
    return asker.get("/openapi.json").json


def test_it_is_valid(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_path_and_verb_is_there(document: Any) -> None:
    none: Any = None
    parts = InspectionPart(none), LiveSettingsPart(none), ModelControlPart(ModelControl()), RolloutPart(none), Pages(none, "1", list)
    resources = [resource for part in parts for resource in part.resources()]
    served = {(f"/{each.path}", verb.lower()) for each in resources for verb in each.verbs if each.path not in ("", "docs", "openapi.json")}
    described = {(path, verb) for path, verbs in document["paths"].items() for verb in verbs if verb in ("get", "post")}
    assert served <= described, served - described


def test_examples_are_accepted_and_responses_are_as_described(asker: Asker, document: Any) -> None:
    def validate(value: Any, operation_schema: Any) -> None:
        jsonschema.Draft202012Validator(operation_schema | {"components": document["components"]}).validate(value)

    tried = set()
    for path, operations in document["paths"].items():
        operation = operations.get("post", {})
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in content.get("examples", {}).values():
            words = operations["parameters"][0]["schema"]["enum"] if "{version}" in path else [""]
            for version in words:
                if "versions" in path.partition("/versions/{")[0] and version == "1":
                    continue  # its example is the newest version's
                validate(example["value"], content["schema"])
                answer = asker.post(path.replace("{version}", version), example["value"])
                assert answer.status == 200, (path, answer.body)
                validate(answer.json, operation["responses"]["200"]["content"]["application/json"]["schema"])
                tried.add(path.split("/")[3])
    assert tried == {"all", "versions", "words", "written_digits", "spoken_digits", "topics", "parcels", "un%20loaded"}


def test_versions_that_differ(asker: Asker, document: Any) -> None:
    operations = document["paths"]["/v2/models/versions/versions/{version}/infer"]
    assert operations["parameters"][0]["schema"]["enum"] == ["1", "3"]
    schema = operations["post"]["requestBody"]["content"]["application/json"]["schema"] | {"components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    for datatype, size in (("FP32", 16), ("INT64", 2)):
        body = {"inputs": [{"name": "x", "datatype": datatype, "shape": [1, size], "data": [0] * size}]}
        assert validator.is_valid(body)
        body["inputs"][0]["name"] = "other"
        assert not validator.is_valid(body)


def test_what_json_cannot_hold_has_no_example(document: Any) -> None:
    for name in ("half", "large"):
        content = document["paths"][f"/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
        assert "examples" not in content["application/json"]
    assert "binary_data_size" in json.dumps(document["components"]["schemas"])


def test_records_have_the_media_type_of_their_format(document: Any) -> None:
    content = document["paths"]["/v2/models/parcels/infer"]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}


def test_it_follows_the_models(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, {"one": models.identity(), "two": models.identity()})
    with ServerFixture(folder, http_port=0, model_control="explicit", load_model=("one",)) as server, Asker(server.http) as asker:

        def described() -> set[str]:
            return {path.split("/")[3] for path in asker.get("/openapi.json").json["paths"] if path.endswith("/infer")}

        assert described() == {"one"}
        assert asker.post("/v2/repository/models/two/load").status == 200
        assert described() == {"one", "two"}
        assert asker.post("/v2/repository/models/one/unload").status == 200
        assert described() == {"two"}
