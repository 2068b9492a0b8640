"""Bundles are whole or not there: kills at every moment, full disks, two writers, things that are not bundles."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.compiler import bundle, swap
from lamina.compiler.bundle import BundleWriter
from lamina.compiler.missing import MachineError
from lamina.compiler.swap import BundleInUse
from lamina.runtime.errors import BundleError

Contents = dict[str, bytes]


def write(target: Path, text: str) -> None:
    with BundleWriter(target) as writer:
        writer.path("weights.bin").write_bytes(text.encode() * 1000)
        writer.path("engines/a.engine").write_text(text)
        writer.commit({"lamina": 1, "model": text})


def contents(folder: Path) -> Contents:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def is_whole(folder: Path) -> bool:
    """What a reader would find right: a manifest, and every file that it names, as it says."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    files = contents(folder)
    del files["manifest.json"]
    return manifest["files"] == {n: {"sha256": hashlib.sha256(d).hexdigest(), "bytes": len(d)} for n, d in files.items()}


def test_a_bundle_is_written_and_replaced_leaving_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "b", "old")
    write(tmp_path / "deep" / "b", "new")
    assert is_whole(tmp_path / "deep" / "b")
    assert contents(tmp_path / "deep" / "b")["weights.bin"] == b"new" * 1000
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["b"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", "text")
    write(tmp_path / "b", "text")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    manifest = contents(tmp_path / "a")["manifest.json"].decode()
    assert manifest == json.dumps(json.loads(manifest), indent=1, sort_keys=True) + "\n"


def test_files_already_hashed_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        writer.path("w").write_bytes(b"abc")
        writer.hashed("w", "feed", 3)
        monkeypatch.setattr(bundle.hashlib, "file_digest", None)
        assert writer.records() == {"w": {"sha256": "feed", "bytes": 3}}
        monkeypatch.undo()
        writer.path("w").write_bytes(b"abcd")
        assert writer.records() == {"w": {"sha256": hashlib.sha256(b"abcd").hexdigest(), "bytes": 4}}
        with pytest.raises(ValueError, match="w has 4 bytes, not 5"):
            writer.hashed("w", "feed", 5)


def test_a_manifest_model_is_taken(tmp_path: Path) -> None:
    from lamina.runtime.manifest import Manifest, read_manifest

    with BundleWriter(tmp_path / "b") as writer:
        writer.path("model.onnx").write_bytes(b"x")
        tensor = {"name": "x", "dtype": "float32", "shape": [1]}
        fields = {
            "inputs": [tensor],
            "outputs": [tensor],
            "weights": {"source": "none"},
            "targets": {"onnx": {"file": "model.onnx", "opset": 24}},
        }
        manifest = Manifest.model_validate({"model": "m", "version": "0", **fields, "files": writer.records()}, strict=False)
        writer.commit(manifest)
    assert read_manifest(tmp_path / "b") == manifest
    assert (tmp_path / "b" / "manifest.json").read_text() == manifest.dump()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../../x", "/etc/x", "a\\b", "manifest.json"])
def test_names_stay_inside(name: str, tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer, pytest.raises(ValueError, match="not the name of a bundle's file"):
        writer.path(name)


def test_what_is_not_a_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "manifest.json").write_text('{"name": "an npm thing"}')
    before = contents(tmp_path)
    for name, message in [("file", "is a file"), ("folder", "not a bundle"), ("/", "cannot be a bundle")]:
        with pytest.raises(BundleError, match=message):
            write(tmp_path / name, "new")
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_that_fills_while_we_build_is_not_replaced(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "thesis.txt").write_text("mine")
        with pytest.raises(BundleError, match="not a bundle"):
            writer.commit({"lamina": 1})
    assert contents(tmp_path) == {"b/thesis.txt": b"mine"}


def test_an_empty_folder_and_a_link_to_a_bundle_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b", "one")
    (tmp_path / "link").symlink_to("b")
    write(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "b")["engines/a.engine"] == b"two"


def test_an_error_or_no_commit_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "b", "old")
    before = contents(tmp_path)
    with BundleWriter(tmp_path / "b") as writer:
        writer.path("x").write_text("y")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path / "b")
    assert contents(tmp_path) == before


def _interrupted(target: Path) -> None:
    with BundleWriter(target) as writer:
        writer.path("x").write_text("y")
        raise KeyboardInterrupt


def write_and_die(target: Path, moment: int, exchanges: bool) -> int:
    """Write in a child process that is killed before its n-th operation on the file system; returns the wait status."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    left = moment

    def count(event: str, _: object) -> None:
        nonlocal left
        if event.split(".")[0] in ("open", "os", "shutil", "ctypes", "fcntl"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if not exchanges:
        swap.exchange = lambda one, other: False
    sys.addaudithook(count)
    write(target, "new")
    os._exit(0)


@pytest.mark.parametrize("exchanges", [True, False])
def test_kill_at_every_moment(exchanges: bool, tmp_path: Path) -> None:
    """kill -9 before each operation on the file system: a whole bundle stands there, and the next build clears what was left."""
    versions, moment = set(), 0
    while True:
        moment += 1
        target = tmp_path / str(moment) / "b"
        write(target, "old")
        status = write_and_die(target, moment, exchanges)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if not target.exists() and not exchanges:
            with BundleWriter(target):
                pass
        assert is_whole(target)
        versions.add(contents(target)["engines/a.engine"])
        write(target, "next")
        assert is_whole(target)
        assert [p.name for p in target.parent.iterdir()] == ["b"]
    assert versions == {b"old", b"new"}  # some kills came before the swap, some after
    assert moment > 20


def test_one_of_two_writers_wins_and_the_other_says_so(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as winner:
        code = "import sys; from pathlib import Path; from tests.test_bundle import write; write(Path(sys.argv[1]), 'loser')"
        loser = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=False)
        assert "BundleInUse: another process is compiling to" in loser.stderr
        with pytest.raises(BundleInUse):
            write(tmp_path / "b", "loser in this process")
        winner.path("x").write_text("winner")
        winner.commit({"lamina": 1})
    assert contents(tmp_path / "b")["x"] == b"winner"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_many_writers_at_once(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from lamina.compiler.swap import BundleInUse
        from tests.test_bundle import write
        for _ in range(100):
            try:
                write(Path(sys.argv[1]), sys.argv[2])
            except BundleInUse:
                pass
    """
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "b"), name]) for name in ("one", "two", "three")]
    seen = 0
    while any(child.poll() is None for child in children):
        try:
            manifest = json.loads((tmp_path / "b" / "manifest.json").read_bytes())
        except FileNotFoundError:
            assert not seen, "the bundle was there and went away"
            continue
        seen += 1
        assert manifest["files"]["engines/a.engine"]["bytes"] == len(manifest["model"])
    assert [child.returncode for child in children] == [0, 0, 0]
    assert seen
    assert is_whole(tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b", "old")
    before = contents(tmp_path)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(bundle, "sync", full)
    with pytest.raises(MachineError, match=r"no room on the disk of .* \(No space left on device\); b was not changed"):
        write(tmp_path / "b", "new")
    assert contents(tmp_path) == before


def test_a_file_over_the_limit_of_the_process(tmp_path: Path) -> None:
    write(tmp_path / "b", "old")
    before = contents(tmp_path)
    code = """if True:
        import resource, sys
        from pathlib import Path
        from tests.test_bundle import write
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        write(Path(sys.argv[1]), "new")
    """
    done = subprocess.run([sys.executable, "-B", "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=False)
    assert "MachineError: no room on the disk" in done.stderr
    assert contents(tmp_path) == before


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "disk")], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        write(tmp_path / "disk" / "b", "old")
        before = contents(tmp_path)
        with pytest.raises(MachineError, match="No space left on device"):
            write(tmp_path / "disk" / "b", "n" * 100)
        assert contents(tmp_path) == before
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_where_names_cannot_be_exchanged_the_old_one_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b", "old")
    monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    real, calls = Path.rename, []

    def die_on_the_second(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", die_on_the_second)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "b", "new")
    monkeypatch.undo()
    assert not (tmp_path / "b").exists()
    with BundleWriter(tmp_path / "b"):
        assert is_whole(tmp_path / "b")
        assert contents(tmp_path / "b")["engines/a.engine"] == b"old"
