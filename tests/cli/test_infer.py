"""`inferd infer`: the same request to a server and to a model file, and rejections that say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.command import EXAMPLES, GRPC_ALONE, Serving

DIGIT = EXAMPLES / "digit.npy"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    contents = {
        "double": models.doubled(),
        "text": models.text(),
        "half": models.identity("BF16", (2,)),
        "open": models.identity("INT64", ("length",)),
        "one": models.identity("FP32", (3, 8, 8), batch=1),
        "lines": models.identity("FP32", (2,)),
        "kinds": models.identity("FP32", (2,)),
        "digits": (EXAMPLES / "models" / "digits" / "1" / "model.onnx").read_bytes(),
    }
    configs = {
        "kinds": 'inferd { postprocess { name: "kind" classes: "cat" classes: "dog" } }',
        "one": """
            inferd { preprocess {
                steps { decode_image {} } steps { resize { height: 8 width: 8 } } steps { scale {} } steps { transpose {} }
            } }
        """,
        "lines": """
            max_batch_size: 2
            inferd { preprocess { steps { columns {
                columns { name: "count" datatype: "INT64" }
                columns { name: "zip" datatype: "BYTES" hash { buckets: 1000 } }
            } } } }
        """,
    }
    return models.repository(tmp_path_factory.mktemp("repository"), contents, configs)


@pytest.fixture(scope="module")
def addresses(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with Serving(tmp_path_factory.mktemp("serving"), repository, *GRPC_ALONE, "--http-port", "0") as server:
        yield server.addresses


@pytest.fixture(scope="module")
def address(addresses: dict[str, str]) -> str:
    return addresses["grpc"]


@pytest.fixture(scope="module")
def http(addresses: dict[str, str]) -> str:
    return f"http://{addresses['http']}"


@pytest.fixture(params=["server", "in process"])
def target(request: pytest.FixtureRequest, repository: Path) -> str:
    return request.getfixturevalue("address") if request.param == "server" else str(repository)


def outputs(done) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return {tensor["name"]: tensor["data"] for tensor in json.loads(done.stdout)["outputs"]}


def test_a_file_as_input_and_text_as_output(run, target: str) -> None:
    done = run("infer", target, "digits", "--input", DIGIT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "label  INT64 [1]"
    assert lines[2] == "probabilities  FP32 [1, 10]"
    assert "digits version 1 responded in " in done.stderr


def test_server_and_process_answer_alike(call, address: str, repository: Path) -> None:
    answers = [outputs(call("infer", where, "digits", "--input", DIGIT, "--format", "json")) for where in (address, repository)]
    assert answers[0]["label"] == answers[1]["label"]
    assert np.allclose(answers[0]["probabilities"], answers[1]["probabilities"], atol=1e-6)


def test_the_batch_axis_is_added_and_said(call, target: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(16, dtype=np.float32))
    done = call("infer", target, "double", "--input", "x=x.npy", "--format", "json")
    (values,) = outputs(done).values()
    assert values == [[2.0 * value for value in range(16)]]
    assert "x: the batch axis is added: [16] -> [1, 16]\n" in done.stderr


def test_json_from_stdin_and_npz_to_a_file(run, target: str, tmp_path: Path) -> None:
    request = json.dumps({"x": [[0.5] * 16] * 3})
    done = run("infer", target, "double", "--json", "-", "--save", "answer.npz", input=request)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with np.load(tmp_path / "answer.npz", allow_pickle=False) as answer:
        (name,) = answer.files
        assert np.array_equal(answer[name], np.ones((3, 16), np.float32))


def test_texts_and_bfloat16(call, target: str) -> None:
    (values,) = outputs(call("infer", target, "text", "--input", 'x=[["a", "é"]]', "--format", "json")).values()
    assert values == [["a", "é"]]
    (values,) = outputs(call("infer", target, "half", "--input", "x=[[1, -2.5]]", "--format", "json")).values()
    assert values == [[1.0, -2.5]]


def test_a_picture_for_a_model_without_a_batch_axis(call, target: str) -> None:
    picture = EXAMPLES / "seven.png"
    (values,) = outputs(call("infer", target, "one", "--image", picture, "--format", "json")).values()
    assert np.shape(values) == (1, 3, 8, 8)
    done = call("infer", target, "one", "--image", picture, "--image", picture)
    assert done.returncode == 2
    assert "the input 'x' is BYTES [1]: expected 1 a request, got 2" in done.stderr
    done = call("infer", target, "one", "--random")
    assert done.returncode == 2
    assert "the input 'x' is what decode_image reads, and no random bytes are that; give --image FILE" in done.stderr


def test_records_are_what_their_columns_say_in_requests_that_the_model_takes(call, target: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("zip,count,note\n007,1,NA\ntrue,2,\nNA,3,1\n")
    (values,) = outputs(call("infer", target, "lines", "--csv", "rows.csv", "--format", "json")).values()
    assert [row[0] for row in values] == [1, 2, 3]
    assert [row[1] for row in values] == [54, 370, 903], "the buckets of these texts"
    (tmp_path / "rows.csv").write_text("zip,count\n007,1\n008,1_0\n")
    done = call("infer", target, "lines", "--csv", "rows.csv")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "inferd: --csv rows.csv, line 3: column 'count': expected a whole number, got '1_0'",
    )


def test_classes_that_the_configuration_names_are_shown(call, target: str) -> None:
    done = call("infer", target, "kinds", "--input", "x=[[0.25, 0.75]]")
    lines = done.stdout.splitlines()
    assert lines == ["kind  FP32 [1, 2]", "kind", "   1  dog    0.7500  " + "█" * 30, "   2  cat    0.2500  " + "█" * 10]
    assert outputs(call("infer", target, "kinds", "--input", "x=[[0.25, 0.75]]", "--format", "json")) == {"kind": [[0.25, 0.75]]}


def test_random_values_of_an_open_shape(call, target: str) -> None:
    done = call("infer", target, "open", "--random", "--shape", "x:2,7", "--format", "json")
    (values,) = outputs(done).values()
    assert np.shape(values) == (2, 7)
    assert "random values of shape [1, 1]; --shape x:... chooses another" in call("infer", target, "open", "--random").stderr


def test_chosen_outputs_and_version(call, target: str) -> None:
    done = call("infer", target, "digits", "--input", DIGIT, "--output", "label", "--model-version", "1", "--format", "json")
    assert set(outputs(done)) == {"label"}


def test_metadata_is_for_servers(call, address: str, repository: Path) -> None:
    arguments = ("digits", "--input", DIGIT, "--metadata", "trace=7", "--format", "json")
    assert "label" in outputs(call("infer", address, *arguments))
    done = call("infer", repository, *arguments)
    assert done.returncode == 2
    assert "--metadata is for a server" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["double"], "the input 'x' (FP32 [?, 16]) is missing; give --input x=FILE.npy or --random"),
        (["double", "--input", "z=[1]"], "the model has no input 'z'; it has: x (FP32 [?, 16])"),
        (["double", "--input", "x=absent.npy"], "there is no such file"),
        (["text", "--text", "nope=@absent"], "no input that takes bytes is called 'nope'; the model has x (BYTES [?, 2])"),
        (["double", "--input", 'x=["a"]'], "the input 'x' is FP32 [?, 16]: expected numbers"),
        (["double", "--random", "--output", "z"], "--output z: the model has no such output"),
        (["double", "--shape", "x:1"], "--shape is for the random inputs of --random"),
        (["double", "--random", "--seed", "-1"], "-1 is not in the range"),
        (["double", "--random", "--shape", "x"], "--shape x: expected NAME:SIZE,SIZE"),
        (["double", "--random", "--shape", "y:1,2"], "--shape y:1,2: no input of that name is random; these are: x (FP32 [?, 16])"),
        (["--random"], "has several models; name one: digits, double, half, kinds, lines, one, open, text"),
    ],
)
def test_wrong_usage_is_exit_code_2(call, target: str, arguments: list[str], message: str) -> None:
    done = call("infer", target, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["absent", "--random"],
        ["double", "--random", "--model-version", "9"],
        ["double", "--input", "x=[[1, 2]]"],
        ["double", "--random", "--shape", "x:100000,16"],
    ],
)
def test_a_rejected_request_is_exit_code_1_and_no_traceback(call, target: str, arguments: list[str]) -> None:
    done = call("infer", target, *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("inferd: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_one_model_needs_no_name(call, tmp_path: Path) -> None:
    models.write(tmp_path, "plus", models.doubled())
    (values,) = outputs(call("infer", "plus.onnx", "--input", str([[1.0] * 16]), "--format", "json")).values()
    assert values == [[2.0] * 16]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.onnx"], "TARGET absent.onnx: there is no such file or folder"),
        (["./absent"], "TARGET ./absent: there is no such file or folder"),
        (["somewhere"], "expected host:port with a port from 0 to 65535, [IPv6]:port or unix:/path, got 'somewhere'"),
        (["localhost:1", "m", "--timeout", "5x"], "'--timeout': expected a time above 0 such as 10s, 250ms or 2m, got '5x'"),
        (["localhost:1", "m", "--timeout", "0s"], "'--timeout': expected a time above 0"),
        (["localhost:1", "m", "--metadata", "a"], "--metadata a: expected KEY=VALUE"),
        (["localhost:1", "m", "--format", "npz"], "--format npz needs --save FILE"),
    ],
)
def test_targets_and_options_that_are_none(call, arguments: list[str], message: str) -> None:
    done = call("infer", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("where", ["127.0.0.1:1", "unix:absent.sock"])
def test_a_server_that_is_not_there_is_exit_code_1(call, where: str) -> None:
    done = call("infer", where, "double", "--random", "--timeout", "10s")
    assert done.returncode == 1
    assert f"inferd: {where}: no gRPC server responds there: UNAVAILABLE" in done.stderr
    assert "speaks TLS" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_loaded_says_why(call, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    done = call("infer", "broken.onnx", "--random")
    assert done.returncode in (2, 3), done.stderr
    assert "broken" in done.stderr
    assert "Traceback" not in done.stderr


def test_save_to_where_nothing_can_be_written(call, tmp_path: Path) -> None:
    models.write(tmp_path, "plus", models.doubled())
    done = call("infer", "plus.onnx", "--random", "--save", "absent/answer.json")
    assert done.returncode == 2
    assert "--save absent/answer.json: cannot be written" in done.stderr


def test_over_http(call, http: str, address: str, tmp_path: Path) -> None:
    over_http, over_grpc = (outputs(call("infer", where, "digits", "--input", DIGIT, "--format", "json")) for where in (http, address))
    assert over_http == over_grpc
    done = call("infer", http, "none", "--random")
    assert (done.returncode, done.stderr.startswith(f"inferd: {http}: NOT_FOUND: ")) == (1, True)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    done = call("infer", "http://models.example", "digits", "--input", DIGIT, "--token-file", "token")
    assert done.returncode == 2
    assert "can read it; write https://" in done.stderr
    done = call("infer", http, "digits", "--tls")
    assert (done.returncode, f"{http} is plain HTTP; write https:// for TLS" in done.stderr) == (2, True)
    done = call("infer", "http://127.0.0.1:1", "digits")
    assert (done.returncode, done.stderr) == (1, "inferd: http://127.0.0.1:1: UNAVAILABLE: Connection refused\n")
