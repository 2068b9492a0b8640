"""What the commands for a cluster refuse before they look for one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from serving import scale

from lamina.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deploy", "scale"], "say where to: --ray"),
        (["deploy", "--ray", "scale", "--host", "0.0.0.0"], "all who reach 0.0.0.0 could ask"),
        (["deploy", "--ray", "scale", "--min-replicas", "3", "--max-replicas", "2"], "at most 2 are fewer than at least 3"),
        (["deploy", "--ray", "scale", "--tls-key", "key.pem"], "a certificate and its key go together"),
        (["run", "scale", "rows.jsonl"], "it is of a run on a cluster; add --ray"),
        (["run", "scale", "--cpus", "2", "--batch", "4"], "Invalid value for --batch, --cpus"),
        (["run", "--ray", "scale", "rows.jsonl"], "give a DATASET and --output"),
        (["run", "--ray", "scale", "rows.jsonl", "-o", "y.parquet", "--text", "a"], "without --input and --text"),
        (["run", "--ray", "scale", "rows.jsonl", "-o", "y.parquet", "--adapter", "a=0.5"], "with one adapter, without a weight"),
        (["run", "--ray", "scale", "rows.jsonl", "-o", "y.parquet", "--adapter", "a"], "`a` is not an adapter of this bundle; it has none"),
        (["run", "--ray", "scale", "rows.jsonl", "-o", "y.npz"], "y.npz must be named .parquet"),
        (["run", "--ray", "scale", "none.jsonl", "-o", "y.parquet"], "there is no file or folder none.jsonl"),
        (["run", "--ray", "scale", "rows.jsonl", "-o", "y.parquet", "--address", "ray://10.0.0.1:1"], "run this on a machine of it"),
    ],
)
def test_what_will_not_do_is_told(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scale(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"x": [1, 2, 3]}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAMINA_TOKEN", raising=False)
    monkeypatch.setattr(sys, "argv", ["lamina", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "y.parquet").exists()
