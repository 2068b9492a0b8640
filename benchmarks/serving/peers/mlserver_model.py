"""A model of MLServer's that runs an ONNX file. For MLServer's environment: it imports nothing of ours."""

from typing import Any

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):  # type: ignore[misc]
    """`parameters.uri` is the file."""

    async def load(self) -> bool:
        """Open it, with a thread for each call."""
        options: Any = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One call, of as many requests as MLServer has joined."""
        feeds = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        values = zip(self._session.get_outputs(), self._session.run(None, feeds), strict=True)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(o.name, value) for o, value in values])
