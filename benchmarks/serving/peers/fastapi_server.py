"""A plain server: FastAPI and ONNX Runtime, a thread for each request, nothing joined.

FILE=model.onnx uvicorn benchmarks.serving.peers.fastapi_server:app
"""

import os
from typing import Any

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["FILE"], options, providers=["CPUExecutionProvider"])
kinds = {"INT64": np.int64, "FP32": np.float32}
app = FastAPI()


@app.post("/v2/models/{name}/infer")
def infer(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The outputs, in the Open Inference Protocol's JSON."""
    feeds = {one["name"]: np.array(one["data"], kinds[one["datatype"]]).reshape(one["shape"]) for one in request["inputs"]}
    outputs = zip(session.get_outputs(), session.run(None, feeds), strict=True)
    described = [{"name": o.name, "datatype": "FP32", "shape": list(v.shape), "data": v.ravel().tolist()} for o, v in outputs]
    return {"model_name": name, "outputs": described}
