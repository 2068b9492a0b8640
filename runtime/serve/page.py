"""The page at `/`: one file, which loads nothing and may run nothing but its own script."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from lamina.runtime.manifest import Tensor
from lamina.runtime.serve.datatypes import DATATYPES
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.server import Server

_PAGE = Path(__file__).with_name("page.html")


def routes(server: Server) -> APIRouter:
    """The page, and what it shows. None of it is in the OpenAPI description: it changes with the page."""
    router = APIRouter(include_in_schema=False)
    text = _PAGE.read_text(encoding="utf-8")
    headers = {"Content-Security-Policy": policy(text), "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}

    @router.get("/")
    async def page() -> Response:
        return Response(text, media_type="text/html", headers=headers)

    @router.get("/page/models")
    async def models() -> list[dict[str, Any]]:
        return [_shown(served) for versions in server.repository.models.values() for served in reversed(versions.values())]

    @router.get("/page/models/{name}/versions/{version}/drawing")
    async def drawing(name: str, version: str) -> dict[str, str | None]:
        with server.repository.served(name, version) as served:
            if served.drawing is None:
                served.drawing = await asyncio.to_thread(server.describe, served.session.folder) or ""
            return {"mermaid": served.drawing or None}

    return router


def policy(page: str) -> str:
    """A Content-Security-Policy that lets this page's own style and script run, and it ask this server; nothing else."""
    style, script = (_digest(re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)) for tag in ("style", "script"))
    rest = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; {rest}"


def _digest(found: re.Match[str] | None) -> str:
    assert found is not None, "the page has one style and one script"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def _shown(served: Served) -> dict[str, Any]:
    manifest = served.manifest
    does = {"embeddings": served.embedding, "completions": served.decoder}
    return {
        "name": served.name,
        "version": served.version,
        "summary": manifest.summary,
        "parameters": manifest.parameters,
        "target": served.session.target,
        "joined": served.joined,
        "texts_joined": served.texts_joined,
        "inputs": [_tensor(spec) | {"below": spec.below} for spec in manifest.inputs if spec.name not in manifest.supplied],
        "outputs": [_tensor(spec) for spec in manifest.outputs],
        "dims": {name: extent.model_dump(include={"min", "opt", "max", "multiple_of"}) for name, extent in manifest.dims.items()},
        "does": ["infer", *(name for name, able in does.items() if able is not None)],
        "texts": served.texts is not None,
        "embedding": served.embedding,
    }


def _tensor(spec: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "datatype": DATATYPES[spec.dtype], "shape": list(spec.shape)}
