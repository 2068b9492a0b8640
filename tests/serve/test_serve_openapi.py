"""Requests drawn from the server's own OpenAPI description: none breaks it, and every answer is as described."""

from __future__ import annotations

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import pooled, scale
from small_decoders import decoder, with_template

from lamina.runtime.serve.app import application
from lamina.runtime.serve.settings import Limits, Settings

FIXED = {"name": "scale", "version": "1"}


def test_answers_are_as_described(tmp_path: Path) -> None:
    chosen = Settings(host="0.0.0.0", poll=0, threads=1, limits=Limits(body=2**16, seconds=5))
    writer = with_template(decoder(tmp_path, "attention"), "{% for message in messages %}{{ message.content }} {% endfor %}1")
    schema = schemathesis.openapi.from_asgi("/openapi.json", application([scale(tmp_path), pooled(tmp_path), writer], chosen))
    tried = [check(found.ok()) for found in schema.get_all_operations()]
    assert {"/v2/models/{name}/infer", "/v1/embeddings", "/v1/completions", "/v1/chat/completions"} < {*tried}


def check(operation: schemathesis.APIOperation) -> str:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True)
    @given(case=operation.as_strategy())
    def answered(case: schemathesis.Case) -> None:
        case.path_parameters.update({name: value for name, value in FIXED.items() if name in case.path_parameters})
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = "attention" if operation.path.endswith("completions") else "pooled"
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # what the schema takes, a model may not

    answered()
    return str(operation.path)
