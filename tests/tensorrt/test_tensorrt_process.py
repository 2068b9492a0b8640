"""A worker that crashes, hangs, talks or cannot load the library ends in a clear error, never in a hang."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lamina.compiler.targets.tensorrt import EngineError, Library, process

FAKE = Library("tensorrt_rtx", "9.9")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands in for the worker's program."""
    file = tmp_path / "worker.py"
    monkeypatch.setattr(process, "WORKER", file)
    return file


def test_crash_is_reported_with_its_last_words(worker: Path) -> None:
    worker.write_text(
        "import os, signal, sys\nprint('half a', 'graph', file=sys.stderr, flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    with pytest.raises(EngineError) as caught:
        process.run(FAKE, {}, timeout=60)
    assert str(caught.value) == "TensorRT-RTX 9.9 crashed (SIGSEGV); the last it said:\nhalf a graph"


def test_killed_worker_hints_at_memory(worker: Path) -> None:
    worker.write_text("import os, signal, sys\nsys.stdin.read()\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(EngineError) as caught:
        process.run(FAKE, {}, timeout=60)
    assert str(caught.value) == "TensorRT-RTX 9.9 crashed (SIGKILL): the machine may have run out of memory; it left no message"


def test_hang_ends_at_the_timeout(worker: Path, tmp_path: Path) -> None:
    worker.write_text(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(300)\n")
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"^TensorRT-RTX 9\.9 was stopped: it was still busy after 2 s$"):
        process.run(FAKE, {}, timeout=2)
    assert time.monotonic() - start < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_worker_dies_with_the_caller_that_gives_up(worker: Path, tmp_path: Path) -> None:
    worker.write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        'print(\'{"progress": 0.5, "phase": "x"}\', flush=True)\ntime.sleep(300)\n'
    )

    def interrupt(share: float, phase: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run(FAKE, {}, timeout=60, progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_library_that_does_not_load() -> None:
    """The real worker, asked for a library that is not there."""
    with pytest.raises(EngineError, match=r"does not load: No module named 'tensorrt_of_tomorrow'"):
        process.run(_Named("tensorrt_of_tomorrow", "1"), {}, timeout=60)


class _Named(Library):
    def __str__(self) -> str:
        return self.name


def test_full_disk(tmp_path: Path) -> None:
    """The real worker, writing to a device that has no room."""
    from tensorrt_models import mlp

    request = {"onnx": str(mlp(tmp_path / "model.onnx")), "engine": "/dev/full", "profile": {"x": [[1, 8]] * 3}, "capabilities": []}
    assert process.run(Library("tensorrt_rtx", ""), request, timeout=60) == {"broken": "No space left on device"}
