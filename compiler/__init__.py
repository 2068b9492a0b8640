"""A checked spec to a graph, and a graph to ONNX files, TensorRT engines, PyTorch modules and bundles."""
