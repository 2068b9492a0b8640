"""lamina list"""

from __future__ import annotations

from lamina.cli._options import Json, Zoo


def command(json: Json = False) -> None:
    """The zoo: every spec that comes with Lamina, its variants and its paper."""
    from lamina.schema.read import read_spec

    specs = [read_spec(p) for p in sorted(Zoo.glob("*/*.yaml")) if p.parent.name != "blocks"]
    if json:
        import json as encoder

        print(encoder.dumps([_entry(s) for s in specs], indent=1))
        return
    for spec in specs:
        paper = f"  (arXiv {spec.paper.arxiv})" if spec.paper and spec.paper.arxiv else ""
        print(f"{spec.path.parent.name}/{spec.model:<14} {', '.join(spec.variants) or '-':<32} {spec.summary}{paper}")


def _entry(spec: object) -> dict[str, object]:
    from lamina.schema.spec import ModelSpec

    assert isinstance(spec, ModelSpec)
    paper = spec.paper.model_dump() if spec.paper else None
    return {"model": spec.model, "file": str(spec.path), "variants": list(spec.variants), "summary": spec.summary, "paper": paper}
