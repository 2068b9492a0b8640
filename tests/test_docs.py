"""Every snippet of the documentation runs, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_harness import ROOT, Run, exchanges, matches, snippets

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_a_document_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(document, tmp_path)
    for snippet in snippets(document):
        try:
            run.snippet(snippet)
        except Exception as error:
            raise AssertionError(f"{document.name}:{snippet.line}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https://") or (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_named_files_exist(document: Path) -> None:
    """A path in backticks, such as `compiler/graph.py`, is one of the repository."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path in re.findall(r"`((?:schema|compiler|runtime|specs|tests|docs|lamina|benchmarks)/[\w./*<>-]*)`", text):
        assert "<" in path or [*ROOT.glob(path.rstrip("/"))], f"{document.name} names {path}"


def test_output_is_compared() -> None:
    assert matches("a\nb\nc\n", "a\n...\nc\n")
    assert matches("a 12 b\n", "a ... b\n")
    assert matches("error 1.5e-07\n", "error 2.2e-06\n")
    assert matches("", "")
    assert not matches("a\nb\n", "a\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("error 1e-04\n", "error 1e-03\n")
    assert [*exchanges("$ a b\n1\n2\n$ c\n")] == [("a b", "1\n2\n"), ("c", "")]
