"""Bundles over HTTP: the Open Inference Protocol, embeddings, completions and a page. Needs the extra `serve`."""
