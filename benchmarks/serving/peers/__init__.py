"""Other servers of the same ONNX file, of two kinds: what one writes in 30 lines of FastAPI, and MLServer.

MLServer wants older libraries than ours (with a newer uvloop its worker ends), so it has an environment of its own:

    python -m venv .venv-mlserver && .venv-mlserver/bin/pip install mlserver onnxruntime "uvloop<0.22"
"""
