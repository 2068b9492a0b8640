"""lamina list"""

from __future__ import annotations

from lamina.cli._options import Json, zoo


def command(json: Json = False) -> None:
    """List the zoo: the specs that come with Lamina, their variants and papers."""
    from lamina.schema.read import read_spec

    specs = [read_spec(p) for p in zoo()]
    if json:
        import json as encoder

        print(encoder.dumps([_entry(s) for s in specs], indent=1))
        return
    width = max(len(s.path.stem) for s in specs)
    others = max(len(", ".join(s.variants)) for s in specs)
    for spec in specs:
        paper = f"  (arXiv {spec.paper.arxiv})" if spec.paper and spec.paper.arxiv else ""
        print(f"{spec.path.stem:<{width}}  {', '.join(spec.variants) or '-':<{others}}  {spec.summary}{paper}")


def _entry(spec: object) -> dict[str, object]:
    from lamina.schema.spec import ModelSpec

    assert isinstance(spec, ModelSpec)
    paper = spec.paper.model_dump() if spec.paper else None
    return {"model": spec.model, "file": str(spec.path), "variants": list(spec.variants), "summary": spec.summary, "paper": paper}
