"""Several models and versions, and bundles that are exchanged while they are served."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import pytest
from onnx import helper
from serving import average, client, in_json, scale
from starlette.testclient import TestClient

from lamina.runtime import BundleError
from lamina.runtime.serve.app import application
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.places import places
from lamina.runtime.serve.repository import Repository
from lamina.runtime.serve.settings import Settings

ASK = in_json(x=("FP32", [[1, 2, 3]]))


def times(folder: Path, factor: float) -> Path:
    """A bundle: y = factor * x."""
    node = helper.make_node("Mul", ["x", "c"], ["y"])
    data = handmade.model([node], {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}, {"c": np.float32([factor])})
    return handmade.write(folder, {"model.onnx": data})


def replace(folder: Path, factor: float) -> None:
    """As `lamina compile` writes a bundle anew: beside its place, then in one step each way."""
    built, aside = folder.with_name(".built"), folder.with_name(".aside")
    times(built, factor)
    folder.rename(aside)
    built.rename(folder)
    shutil.rmtree(aside)


def asked(server: TestClient, path: str) -> float:
    answer = server.post(f"/v2/models/{path}/infer", json=ASK)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_models_and_versions(tmp_path: Path) -> None:
    (tmp_path / "zoo" / "empty").mkdir(parents=True)
    times(tmp_path / "zoo" / "scaled" / "2", 2)
    times(tmp_path / "zoo" / "scaled" / "10", 10)
    times(tmp_path / "zoo" / "scaled" / "not-a-version", 3)
    times(tmp_path / "zoo" / "one", 1)
    with client(tmp_path / "zoo", average(tmp_path)) as server:
        assert [asked(server, path) for path in ("scaled", "scaled/versions/2", "scaled/versions/10", "one")] == [10, 2, 10, 1]
        assert server.get("/v2/models/scaled").json()["versions"] == ["2", "10"]
        assert server.get("/v2/models/average").status_code == 200
        assert server.get("/v2/models/scaled/versions/not-a-version").status_code == 404


def test_what_cannot_be_served_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "empty").mkdir(parents=True)
    with pytest.raises(BundleError, match="there is no bundle in"):
        application([tmp_path / "a"], Settings())
    broken, worse = scale(tmp_path / "b"), average(tmp_path)
    (broken / "model.onnx").write_bytes(b"")
    (worse / "model.onnx").unlink()
    with pytest.raises(BundleError) as caught:
        application([broken, worse], Settings())
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(BundleError) as caught:
        places([tmp_path / "none", scale(tmp_path / "c"), scale(tmp_path / "d")])
    missing, twice = str(caught.value).splitlines()
    assert missing.endswith("none is not a folder; give a bundle, or a folder of bundles")
    assert "are both version 1 of `scale`" in twice


def test_a_new_bundle_is_served_without_a_request_lost(tmp_path: Path) -> None:
    times(tmp_path / "m", 2)
    found: list[float] = []
    with client(tmp_path, poll=0.02) as server:

        def ask() -> None:
            while not found or found[-1] < 4:
                found.append(asked(server, "m"))

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for one in clients:
            one.start()
        for factor in (3, 4):
            replace(tmp_path / "m", factor)
            eventually(lambda factor=factor: asked(server, "m") == factor)  # type: ignore[misc]
        for one in clients:
            one.join()
        times(tmp_path / "n", 5)
        eventually(lambda: server.get("/v2/models/n").status_code == 200)
        shutil.rmtree(tmp_path / "n")
        eventually(lambda: server.get("/v2/models/n").status_code == 404)
    assert set(found) == {2, 3, 4}


def test_a_folder_that_is_away_for_a_moment_is_served(tmp_path: Path) -> None:
    times(tmp_path / "m", 2)
    repository = Repository([tmp_path], Settings(threads=1), Metrics())
    repository.open()
    (tmp_path / "m").rename(tmp_path / ".m")
    once, problems = repository.scan(repository._found)
    (place,) = once
    assert (once[place].served, problems) == (repository.served("m"), [])
    twice, _ = repository.scan(once)
    assert twice == {}
    (tmp_path / ".m").rename(tmp_path / "m")
    back, _ = repository.scan(once)
    assert repository.scan(back)[0][place].served is repository.served("m")


def test_a_damaged_bundle_leaves_what_was_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = times(tmp_path / "m", 2)
    with client(tmp_path, poll=0.02) as server:
        record = json.loads((folder / "manifest.json").read_text())
        record["files"]["model.onnx"]["sha256"] = "0" * 64
        (folder / "manifest.json").write_text(json.dumps(record))
        eventually(lambda: "does not have the SHA-256" in caplog.text)
        assert asked(server, "m") == 2
        replace(folder, 3)
        eventually(lambda: asked(server, "m") == 3)
    assert caplog.text.count("does not have the SHA-256") == 1
