"""On a real cluster, a node of which is killed: what a deployment accepts is answered, and each row of a dataset comes once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import handmade
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from onnx import helper
from ray import serve
from ray.cluster_utils import Cluster
from serving import INFER, LENGTH, free_port, in_bytes, in_json, pooled, scale, slow, until_ready, vectors

from lamina.runtime import Session
from lamina.runtime.errors import InputError
from lamina.runtime.ray import infer as infer_module
from lamina.runtime.ray.asgi import Asked
from lamina.runtime.ray.cluster import Share
from lamina.runtime.ray.deploy import Scaling, deployed
from lamina.runtime.ray.infer import infer
from lamina.runtime.ray.model import Use
from lamina.runtime.ray.shelf import shelved
from lamina.runtime.serve.settings import Settings

STORE = 80 * 2**20  # bytes: the least that Ray takes
TOKEN = "a-token"
SHARE = Share(cpus=1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head, on which no session runs. Its files and the copies are in a folder of their own, whose name is short enough for sockets."""
    tmp_path_factory.getbasetemp()  # which is elsewhere
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(folder).items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", None)  # which was read before
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False})
        try:
            ray.init(address=found.address, log_to_driver=False)
            yield found
        finally:
            ray.shutdown()
            found.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    tempfile.tempdir = None


def _environment(folder: Path) -> Mapping[str, str]:
    return {"TMPDIR": str(folder), "RAY_TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}


def nodes(cluster: Cluster, count: int) -> list[Any]:
    """So many nodes beside the head, each for one session. They stay for the next test, as each starts several processes."""
    while len(cluster.worker_nodes) < count:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    return [*cluster.worker_nodes]


def kill(cluster: Cluster, node: Any) -> None:
    """End a node at once, as a power cut does."""
    cluster.remove_node(node, allow_graceful=False)


def eventually(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.1)


# --- lamina run --ray ---


def test_each_row_comes_once_though_its_node_is_killed(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((2500, 3), np.float32)
    (tmp_path / "data").mkdir()
    for name, rows in (("a", x[:1000]), ("b", x[1000:])):
        pq.write_table(pa.table({"x": list(rows), "other": pa.nulls(len(rows))}), tmp_path / "data" / f"{name}.parquet")
    nodes(cluster, 1)
    whole, seen = infer_module._in_order, []

    def meanwhile(results: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for result in results:
            seen.append(result["first"])
            if len(seen) == 3:  # all that was computed so far, and all that computes, is on these
                for node in [*cluster.worker_nodes]:
                    kill(cluster, node)
                nodes(cluster, 1)
            yield result

    monkeypatch.setattr(infer_module, "_in_order", lambda results, found: whole(meanwhile(results), found))
    rows = infer(scale(tmp_path), tmp_path / "data", tmp_path / "y.parquet", Use(threads=1), address=None, sessions=1, share=SHARE)
    assert len(seen) == 40  # of 64 rows at most
    assert rows == len(x)
    table = pq.read_table(tmp_path / "y.parquet")
    assert table.column_names == ["y"]
    np.testing.assert_array_equal(np.array(table["y"].to_pylist(), np.float32), 2 * x)


def test_texts_and_faults_and_a_second_run(cluster: Cluster, tmp_path: Path) -> None:
    bundle, data, out = pooled(tmp_path), tmp_path / "texts.jsonl", tmp_path / "out.parquet"
    asked: dict[str, Any] = {"address": None, "sessions": 1, "share": SHARE}
    nodes(cluster, 1)
    data.write_text('{"text": "the cat sat"}\n{"text": 3}\nno\n{"ids": [1, 2]}\n{"ids": [9], "mask": [1]}\n')
    with pytest.raises(InputError) as error:
        infer(bundle, data, out, Use(), **asked)
    assert str(error.value).splitlines() == [
        f"{data}, row 2: `text`: the text is int; give a string",
        f"{data}, row 3: is not JSON: Expecting value: line 1 column 1 (char 0)",
        f"{data}, row 4: nothing was given for `mask`; the inputs are ids: int64[N, T], mask: int64[N, T]",
        f"{data}, row 5: `ids` holds values from 9 to 9, and must hold 0 to 7",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"pooled", "texts.jsonl"}
    texts = ["the cat sat", "mat", "a cat sat on the mat"] * 50
    data.write_text("".join(f'{{"text": "{text}", "id": {number}}}\n' for number, text in enumerate(texts)))
    assert infer(bundle, data, out, Use(), **asked) == len(texts)
    table = pq.read_table(out).to_pylist()
    np.testing.assert_allclose([row["embedding"] for row in table], vectors(*texts), rtol=1e-6)
    assert [len(row["words"]) for row in table] == [len(text.split()) for text in texts]  # without padding


# --- lamina deploy --ray ---


@contextmanager
def deploying(cluster: Cluster, log: Path, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The command as a process of its own, and a client of it, once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "lamina", "deploy", "--ray", *map(str, arguments), "--address", cluster.address, "--port", str(port)]
    with log.open("w") as errors:
        process = subprocess.Popen([*command, "--threads", "1", "--poll", "0.2"], stderr=errors, env={**os.environ, "LAMINA_TOKEN": TOKEN})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            until_ready(process, client, log)
            yield process, client
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_replicas_answer_and_what_a_killed_node_had_is_answered_by_another(cluster: Cluster, tmp_path: Path) -> None:
    models = tmp_path / "models"
    bundles = {"scale": scale(models), "pooled": pooled(models), "slow": slow(models)}
    first, _ = nodes(cluster, 2)
    with deploying(cluster, tmp_path / "log", models, "--min-replicas", 2, "--max-replicas", 2) as (process, client):
        _answers_as_a_session(client, bundles["scale"])
        _refuses_as_a_server(client)
        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(client.post, "/v2/models/slow/infer", json=in_json(x=("FP32", [[n, n, n]]))) for n in range(16)]
            eventually(lambda: any(one.done() for one in asked))
            kill(cluster, first)
            found = [one.result() for one in asked]
        assert [answer.status_code for answer in found] == [200] * 16
        assert [answer.json()["outputs"][0]["data"] for answer in found] == [[2 * n] * 3 for n in range(16)]
        assert "a replica was lost, another is asked" in (tmp_path / "log").read_text()
        _exchange(bundles["scale"])
        eventually(lambda: client.post(INFER, json=in_json(x=("FP32", [[1, 2, 3]]))).json()["outputs"][0]["data"] == [3, 6, 9])
        process.terminate()
        assert process.wait(60) == 0
    assert serve.status().applications == {}


def _answers_as_a_session(client: httpx.Client, bundle: Path) -> None:
    x = np.random.default_rng(1).standard_normal((5, 3), np.float32)
    content, headers = in_bytes(x=("FP32", x))
    for _ in range(4):  # of either replica
        answer = client.post(INFER, content=content, headers=headers | {"X-Request-Id": "mine"})
        assert answer.headers.get_list("x-request-id") == ["mine"]
        found = np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], np.float32).reshape(5, 3)
        with Session(bundle) as session:
            np.testing.assert_array_equal(found, session(x=x)["y"])
    answer = client.post("/v1/embeddings", json={"model": "pooled", "input": ["the cat", "a mat"]})
    np.testing.assert_allclose([one["embedding"] for one in answer.json()["data"]], vectors("the cat", "a mat"), rtol=1e-6)


def _refuses_as_a_server(client: httpx.Client) -> None:
    assert client.get("/v2", headers={"Authorization": "Bearer another"}).status_code == 401
    answer = client.post("/v2/models/none/infer", json={})
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no model `none`; there are pooled, scale, slow"})
    assert client.post(INFER, content=b" " * (64 * 2**20 + 1)).status_code == 413
    assert client.get("/v2/health/ready", headers={"X-Request-Timeout": "no"}).status_code == 400
    assert 'lamina_requests_total{route="/v1/embeddings",status="200"} 1.0' in client.get("/metrics").text


def _exchange(bundle: Path) -> None:
    """Replace a bundle by one that makes y = 3 x, as the compiler does."""
    nodes = [helper.make_node("Mul", ["x", "three"], ["y"])]
    three = {"three": np.array([3], np.float32)}
    data = handmade.model(nodes, {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}, three)
    new = handmade.write(bundle.with_name(".new"), {"model.onnx": data})
    bundle.rename(bundle.with_name(".old"))
    new.rename(bundle)


def test_replicas_come_and_go_with_the_requests(cluster: Cluster, tmp_path: Path) -> None:
    scaling = Scaling(least=1, most=2, target=1, up=0, down=1)
    body = b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}'
    asked = Asked("POST", "/v2/models/slow/infer", b"", [(b"host", b"localhost")], body)
    nodes(cluster, 2)
    with (
        shelved([slow(tmp_path)]) as shelf,
        deployed(shelf, Settings(threads=1), _undrawn, name="scaling", scaling=scaling, share=SHARE) as handle,
    ):
        assert _running() == 1
        asyncio.run(_ask_until(handle, asked, lambda: _running() == 2))
        eventually(lambda: _running() == 1)
    assert serve.status().applications == {}


async def _ask_until(handle: Any, asked: Asked, holds: Callable[[], bool]) -> None:
    """Have four requests answered at a time until something holds."""
    ended = False

    async def ask() -> None:
        while not ended:
            async for part in handle.remote(asked):
                assert part.head is None or part.head.status == 200

    asking = [asyncio.ensure_future(ask()) for _ in range(4)]
    try:
        await asyncio.to_thread(eventually, holds)
    finally:
        ended = True
        await asyncio.gather(*asking)


def _running() -> int:
    return serve.status().applications["scaling"].deployments["Replica"].replica_states.get("RUNNING", 0)


def _undrawn(folder: Path) -> str | None:
    return None
