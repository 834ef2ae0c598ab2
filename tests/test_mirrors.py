"""Each module of inferd has a test file where one looks for it: tests/steps/test_text.py for inferd/steps/text.py, or that of
its package (tests/serving/parts/test_inspection.py), or the one that TESTED_BY names. `make check FILE=...` runs it."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "inferd"

# Modules that are tested through another one: a part of a class, the words or the form of what another does, one line of a table.
TESTED_BY = {
    "__init__.py": "engine/test_embedded.py",
    "_core/codec/infer_response.pyx": "_core/codec/test_infer.py",
    "_core/codec/outputs.pyx": "_core/codec/test_infer.py",
    "_core/http/call.pyx": "_core/http2/test_rest.py",
    "_core/http1/response_head.pyx": "_core/http1/test_session.py",
    "_core/http2/call_stalls.pyx": "_core/net/test_stall_policy.py",
    "_core/http2/exchange.pyx": "_core/http2/test_rest.py",
    "_core/http2/http2_state.pyx": "_core/http2/test_session.py",
    "_core/http2/requests.pyx": "_core/http2/test_session.py",
    "_core/http2/response_headers.pyx": "_core/http2/test_session.py",
    "_core/http2/send_state.pyx": "_core/http2/test_session.py",
    "_core/http2/stream.pyx": "_core/http2/test_session.py",
    "_core/load/arrivals.pyx": "_core/load/test_generator.py",
    "_core/load/connection.pyx": "_core/load/test_generator.py",
    "_core/load/connections.pyx": "_core/load/test_generator.py",
    "_core/load/http2.pyx": "_core/load/test_generator.py",
    "_core/load/load_protocol.pyx": "_core/load/test_generator.py",
    "_core/load/rest_response.pyx": "_core/load/test_http1.py",
    "_core/net/protocol.pyx": "_core/net/test_stream_socket.py",
    "_core/net/server_state.pyx": "_core/net/test_stream_socket.py",
    "_core/rest/json_fault.pyx": "_core/rest/test_decode.py",
    "_core/tensor/datatypes.pyx": "_core/tensor/test_tensor.py",
    "_core/tensor/declared_padding.pyx": "_core/tensor/test_padding.py",
    "_core/tensor/fault.pyx": "_core/tensor/test_tensor.py",
    "_core/tensor/shown.pyx": "_core/tensor/test_tensor.py",
    "_core/tensor/signature.pyx": "_core/tensor/test_tensor.py",
    "arrow_messages.py": "steps/test_table.py",
    "bench/attempt.py": "bench/test_generator.py",
    "bench/evidence.py": "bench/test_tune.py",
    "bench/findings.py": "bench/test_conclusion.py",
    "bench/loadgen.py": "bench/test_scenarios.py",
    "bench/measurement.py": "bench/test_conclusion.py",
    "bench/plots_server.py": "bench/test_plots.py",
    "bench/plots_sides.py": "bench/test_plots.py",
    "bench/style.py": "bench/test_html.py",
    "bench/tables.py": "bench/test_report.py",
    "bench/trace.py": "bench/test_replay.py",
    "bench/worker.py": "bench/test_generator.py",
    "cli/__init__.py": "cli/test_main.py",
    "cli/asking.py": "cli/test_health.py",
    "cli/drain.py": "serving/processes/test_process.py",
    "cli/duration.py": "cli/test_health.py",
    "cli/label_file.py": "cli/test_feedback.py",
    "cli/named_files.py": "cli/test_check.py",
    "cli/options.py": "cli/test_config.py",
    "cli/verbs.py": "cli/test_check.py",
    "client_inputs/reach.py": "client_inputs/test_connections.py",
    "client_inputs/targets.py": "client_inputs/test_tables.py",
    "config/__init__.py": "config/test_settings.py",
    "config/model_settings.py": "config/test_settings.py",
    "config/part_settings.py": "serving/parts/test_registry.py",
    "config/server_settings.py": "config/test_settings.py",
    "config/share.py": "serving/memory/test_budget.py",
    "diff/loading.py": "cli/test_diff.py",
    "diff/page.py": "cli/test_diff.py",
    "diff/report.py": "diff/test_verdict.py",
    "diff/run.py": "cli/test_diff.py",
    "diff/sources.py": "cli/test_diff.py",
    "diff/words.py": "cli/test_diff.py",
    "engine/configuration/config_sources.py": "engine/configuration/test_model_config.py",
    "engine/models/departures.py": "engine/models/test_lifecycle.py",
    "engine/models/entry.py": "engine/models/test_repository.py",
    "engine/models/label_moves.py": "engine/models/test_labels.py",
    "engine/models/memory_limit.py": "engine/models/test_overcommit.py",
    "engine/models/model_files.py": "engine/models/test_lifecycle.py",
    "engine/models/upkeep.py": "engine/models/test_repository.py",
    "engine/models/versions.py": "engine/models/test_lifecycle.py",
    "engine/loading/load_limit.py": "engine/loading/test_loader.py",
    "engine/local_call.py": "engine/test_embedded.py",
    "engine/models/opening.py": "engine/models/test_repository.py",
    "engine/loading/origin.py": "engine/loading/test_loader.py",
    "engine/files/places.py": "engine/files/test_roots.py",
    "engine/remote/__init__.py": "engine/remote/test_refreshing.py",
    "engine/remote/location.py": "engine/remote/test_registry.py",
    "engine/remote/names.py": "engine/remote/test_archive.py",
    "engine/remote/objects.py": "engine/remote/test_fetching.py",
    "engine/remote/source.py": "engine/remote/test_listing.py",
    "engine/remote/until.py": "engine/remote/test_archive.py",
    "engine/models/routing.py": "engine/models/test_repository.py",
    "engine/configuration/ignored_fields.py": "engine/configuration/test_model_config.py",
    "engine/configuration/resources.py": "engine/configuration/test_model_config.py",
    "engine/running/executors.py": "engine/test_model.py",
    "engine/running/inline_choice.py": "engine/test_model.py",
    "engine/running/run_memory.py": "engine/runtime/test_arena.py",
    "engine/runtime/onnx/arrays.py": "engine/runtime/onnx/test_model.py",
    "engine/runtime/onnx/bound_backend.py": "engine/runtime/onnx/test_model.py",
    "engine/runtime/onnx/run.py": "engine/runtime/onnx/test_model.py",
    "engine/runtime/onnx/runtime.py": "engine/loading/test_loader.py",
    "engine/runtime/onnx/session_config.py": "engine/configuration/test_model_config.py",
    "engine/runtime/onnx/tensor_types.py": "engine/runtime/onnx/test_model.py",
    "engine/runtime/onnx/varying_backend.py": "engine/runtime/onnx/test_model.py",
    "engine/runtime/runtimes.py": "engine/runtime/test_runtime.py",
    "engine/configuration/unsupported.py": "engine/configuration/test_model_config.py",
    "errors.py": "serving/transports/test_grpcio.py",
    "cli/drift_page.py": "cli/test_drift.py",
    "monitor/metrics.py": "monitor/test_part.py",
    "monitor/paths.py": "monitor/test_part.py",
    "monitor/rpc.py": "monitor/test_part.py",
    "monitor/settings.py": "monitor/test_part.py",
    "monitor/verdict.py": "monitor/test_report.py",
    "monitor/watch.py": "monitor/test_watcher.py",
    "feedback/memory.py": "serving/memory/test_budget.py",
    "feedback/metrics.py": "feedback/test_part.py",
    "feedback/paths.py": "feedback/test_part.py",
    "feedback/rpc.py": "feedback/test_part.py",
    "feedback/schema.py": "feedback/test_store.py",
    "feedback/settings.py": "feedback/test_part.py",
    "feedback/writer.py": "feedback/test_part.py",
    "interpreter.py": "rollout/test_canary.py",
    "part/bodies.py": "serving/rest/test_service.py",
    "part/method.py": "serving/transports/test_cold_calls.py",
    "part/operation.py": "serving/parts/test_openapi.py",
    "part/part.py": "serving/parts/test_registry.py",
    "part/resource.py": "serving/rest/test_service.py",
    "part/table.py": "serving/parts/test_registry.py",
    "protocol/__init__.py": "protocol/test_protocol.py",
    "protocol/_pool.py": "protocol/test_protocol.py",
    "record/decoded.py": "record/test_parquet.py",
    "record/form.py": "record/test_reader.py",
    "record/memory.py": "serving/memory/test_budget.py",
    "record/part.py": "record/test_recorder.py",
    "record/samples.py": "config/test_checks.py",
    "record/settings.py": "config/test_checks.py",
    "rollout/follower.py": "rollout/test_rollouts.py",
    "rollout/live_rollout.py": "rollout/test_rollouts.py",
    "rollout/roster.py": "rollout/test_rollouts.py",
    "rollout/tasks.py": "rollout/test_rollouts.py",
    "rollout/worker.py": "rollout/test_rollouts.py",
    "rollout/audit.py": "rollout/test_rollouts.py",
    "rollout/judge.py": "rollout/test_candidate.py",
    "rollout/ledger.py": "rollout/test_rollouts.py",
    "rollout/messages.py": "rollout/test_candidate.py",
    "rollout/metrics.py": "rollout/test_shadow.py",
    "rollout/mirror.py": "rollout/test_shadow.py",
    "rollout/part.py": "rollout/test_canary.py",
    "rollout/paths.py": "rollout/test_canary.py",
    "rollout/rpc.py": "rollout/test_canary.py",
    "rollout/settings.py": "config/test_settings.py",
    "scikit_learn/nodes.py": "scikit_learn/test_encoders.py",
    "serving/transports/awaited_call.py": "serving/transports/test_grpcio.py",
    "serving/processes/child.py": "serving/processes/test_workers.py",
    "serving/listening/edge.py": "serving/test_server.py",
    "serving/parts/connections.py": "observe/test_metrics.py",
    "serving/parts/credentials.py": "serving/security/test_access.py",
    "serving/parts/inference/part.py": "serving/test_service.py",
    "serving/parts/models/part.py": "observe/test_metrics.py",
    "serving/parts/on_demand/part.py": "serving/test_on_demand.py",
    "serving/rest/raw_infer.py": "serving/rest/test_raw_body.py",
    "serving/summary.py": "engine/models/test_repository.py",
    "serving/processes/supervisor.py": "serving/processes/test_workers.py",
    "serving/processes/systemd.py": "serving/processes/test_process.py",
    "serving/transports/transport.py": "serving/test_server.py",
    "serving/messages/unpacking.py": "serving/messages/test_message_threads.py",
    "serving/processes/worker.py": "serving/processes/test_workers.py",
    "steps/audio_container.py": "steps/test_audio_file.py",
    "steps/audio_spectrum.py": "steps/test_audio.py",
    "steps/columns.py": "steps/test_table.py",
    "steps/model_file.py": "steps/test_detections.py",
    "steps/records.py": "steps/test_table.py",
    "steps/stage.py": "steps/test_detections.py",
    "system/cgroup.py": "system/test_memory_limit.py",
}


def has_code(file: Path) -> bool:
    """A .py that defines nothing, of a package say, has nothing to test."""
    if file.suffix == ".pyx":
        return True
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, definitions) for node in ast.parse(file.read_text(encoding="utf-8")).body)


def mirrors(module: Path) -> list[Path]:
    """The test files that need no line in the table."""
    return [
        TESTS / module.parent / f"test_{module.stem.strip('_')}.py",
        TESTS / module.parent.parent / f"test_{module.parent.name}.py",
    ]


def modules() -> list[Path]:
    files = (file for pattern in ("*.py", "*.pyx") for file in sorted(SOURCE.rglob(pattern)))
    return [file.relative_to(SOURCE) for file in files if file.name != "_version.py"]  # written by a build


def test_each_module_has_a_test_file() -> None:
    for module in filter(lambda each: has_code(SOURCE / each), modules()):
        named = TESTED_BY.get(module.as_posix())
        if any(file.is_file() for file in mirrors(module)):
            assert named is None, f"{module} has a test file of its own: take its line out of TESTED_BY"
        else:
            assert named, f"{module} lacks {mirrors(module)[0]}: write it, or name the file that tests the module in TESTED_BY"
            assert (TESTS / named).is_file(), f"{module}: tests/{named} is gone"


def test_the_table_has_no_module_that_is_gone() -> None:
    assert set(TESTED_BY) <= {module.as_posix() for module in modules()}
