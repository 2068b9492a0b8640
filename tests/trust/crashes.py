"""Is a bundle whole or not there, whatever happens to its compilation? That is killed, finds no room or no permission, or another at work.

python tests/trust/crashes.py [--count 200] [--seed 0] [--dry]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from trust import record

import lamina
from lamina.cli import main as command_line
from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import read_manifest

OLD, NEW = "1", "2"  # seeds of the weights
NOBODY = 65_534
SPEC = """lamina: 1
model: wide
inputs: {x: "float32[N, 1024]"}
dims: {N: {max: 4}}
body:
  - repeat: 6
    do: [{linear: 1024}, relu]
outputs: {y: "float32[N, 1024]"}
"""


@dataclass
class Bench:
    """A folder with a spec, and the two bundles that it gives."""

    root: Path
    digests: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def spec(self) -> Path:
        return self.root / "wide.yaml"

    def prepare(self) -> None:
        """Compile both, and see how long it takes."""
        self.spec.write_text(SPEC)
        for seed in (OLD, NEW):
            lamina.compile(lamina.load(self.spec), self.kept(seed), seed=int(seed))
            self.digests[digest(self.kept(seed))] = seed
        start = time.monotonic()
        self.wait(self.start(self.root / "timed", NEW))
        self.seconds = time.monotonic() - start

    def kept(self, seed: str) -> Path:
        return self.root / f"kept{seed}"

    def start(self, target: Path, seed: str, before: Callable[[], object] = lambda: None) -> int:
        """`lamina compile` in a process of its own, whose modules are loaded; its messages go to the file `said`."""
        child = os.fork()
        if child:
            return child
        try:
            before()
            said = os.open(self.root / f"said{seed}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(said, 1), os.dup2(said, 2)
            sys.argv = ["lamina", "compile", str(self.spec), "-o", str(target), "--seed", seed]
            command_line()
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        except BaseException:
            traceback.print_exc()
        os._exit(70)

    def wait(self, child: int) -> int:
        """The exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def said(self, seed: str) -> str:
        return (self.root / f"said{seed}").read_text()

    def place(self, name: str, holds: str | None) -> Path:
        """A folder with a bundle in it, or none."""
        shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / name).mkdir()
        if holds is not None:
            shutil.copytree(self.kept(holds), self.root / name / "b")
        return self.root / name / "b"

    def holds(self, target: Path) -> str | None:
        """The seed of the whole bundle there, or None where nothing is. AssertionError for anything else."""
        if not target.exists():
            return None
        read(target)
        return self.digests[digest(target)]


def read(folder: Path) -> None:
    """Read a bundle as a session does. Raises BundleError."""
    manifest = read_manifest(folder)
    check_hashes(folder, manifest.files, manifest.files)


def digest(folder: Path) -> str:
    """Of every file's name and bytes."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def kills(bench: Bench, count: int, chance: Random) -> Counter[str]:
    """Killed at random moments, so many times, half of them where no bundle was before; the next compilation succeeds and clears up."""
    seen: Counter[str] = Counter()
    for number in itertools.count():
        if seen["killed"] == count:
            return seen
        before = OLD if number % 2 else None
        target = bench.place("killed", before)
        child = bench.start(target, NEW)
        time.sleep(chance.uniform(0, bench.seconds * 1.1))
        os.kill(child, signal.SIGKILL)
        seen["killed" if bench.wait(child) == -signal.SIGKILL else "done before the kill"] += 1
        after = bench.holds(target)
        assert after in (before, NEW), f"kill {number}: {before} became {after}"
        seen["the bundle before stands" if after == before else "the new bundle stands"] += 1
        seen.update(_leftovers(target))
        assert bench.wait(bench.start(target, NEW)) == 0, bench.said(NEW)
        assert bench.holds(target) == NEW
        assert [path.name for path in target.parent.iterdir()] == ["b"], "something was left"
        seen["the next compilation succeeds"] += 1
    raise AssertionError


def _leftovers(target: Path) -> Iterator[str]:
    """What a kill left beside the bundle: a folder that is refused, or whole but for its place."""
    for folder in target.parent.glob(".b.tmp-*"):
        try:
            read(folder)
        except BundleError:
            yield "half-written folders, refused"
        else:
            yield "whole folders, not yet in place"


def commands(bench: Bench, count: int, chance: Random) -> Counter[str]:
    """The same with the command itself, from Python's start on."""
    line = [sys.executable, "-m", "lamina", "compile", str(bench.spec), "--seed", NEW, "-o"]
    start = time.monotonic()
    subprocess.run([*line, str(bench.root / "timed")], check=True, capture_output=True)
    seconds = time.monotonic() - start
    seen: Counter[str] = Counter()
    for number in range(count):
        before = OLD if number % 2 else None
        target = bench.place("killed", before)
        child = subprocess.Popen([*line, str(target)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, seconds))
        child.kill()
        child.wait()
        assert bench.holds(target) in (before, NEW)
        seen["killed"] += 1
    return seen


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[bool]:
    """Something mounted at a folder; False where that is not permitted."""
    folder.mkdir(exist_ok=True)
    done = not subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True)


def full_disks(bench: Bench, count: int, chance: Random) -> Counter[str]:
    """A disk with room for the bundle before and some of the new one; where none can be mounted, a limit on the size of files."""
    size = sum(path.stat().st_size for path in bench.kept(NEW).rglob("*") if path.is_file())
    seen: Counter[str] = Counter()
    for _ in range(count):
        room = int(chance.uniform(0, size * 0.99))
        with mounted(bench.root / "disk", "-t", "tmpfs", "-o", f"size={size + (64 << 10) + room}", "tmpfs") as real:
            target = bench.root / "disk" / "b" if real else bench.place("limited", None)
            shutil.copytree(bench.kept(OLD), target)
            limit = (lambda: None) if real else (lambda r=room: resource.setrlimit(resource.RLIMIT_FSIZE, (r, r)))  # type: ignore[misc]
            code = bench.wait(bench.start(target, NEW, limit))
            assert (code, bench.holds(target)) == (2, OLD), f"exit {code}: {bench.said(NEW)}"
            assert [path.name for path in target.parent.iterdir()] == ["b"], "something was left"
            seen["on a full disk" if real else "over a limit on files"] += 1
    return seen


def read_only(bench: Bench) -> Counter[str]:
    """A folder that may not be written: mounted so, and another's."""
    seen: Counter[str] = Counter()
    target = bench.place("closed", OLD)
    with mounted(target.parent, "--bind", "-o", "ro", str(target.parent)) as real:
        if real:
            code = bench.wait(bench.start(target, NEW))
            assert (code, bench.holds(target)) == (2, OLD), f"exit {code}: {bench.said(NEW)}"
            seen["mounted read-only"] += 1
    if os.getuid() == 0:
        bench.root.chmod(0o755)
        (bench.root / f"said{NEW}").chmod(0o666)
        code = bench.wait(bench.start(target, NEW, lambda: os.setuid(NOBODY)))
        assert (code, bench.holds(target)) == (2, OLD), f"exit {code}: {bench.said(NEW)}"
        seen["another user's"] += 1
    return seen


def two_at_once(bench: Bench, count: int, chance: Random) -> Counter[str]:
    """Two into one folder: one wins whole, and the other says so, or comes after it."""
    seen: Counter[str] = Counter()
    for _ in range(count):
        target = bench.place("shared", None)
        first = bench.start(target, OLD)
        time.sleep(chance.uniform(0, bench.seconds / 2))
        second = bench.start(target, NEW)
        codes = {OLD: bench.wait(first), NEW: bench.wait(second)}
        assert bench.holds(target) in [seed for seed, code in codes.items() if code == 0], codes
        for seed, code in codes.items():
            assert code == 0 or (code == 2 and "another process is compiling to" in bench.said(seed)), bench.said(seed)
        seen["one after the other" if set(codes.values()) == {0} else "one won, one said so"] += 1
    return seen


def run(count: int, seed: int) -> dict[str, int]:
    """Everything that was seen. AssertionError for a bundle that is not whole, or a message that is not given."""
    chance = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.prepare()
        few = max(1, count // 10)
        return {
            **kills(bench, count, chance),
            **{f"`lamina compile` from Python's start: {what}": n for what, n in commands(bench, few, chance).items()},
            **{f"no room: refused, the bundle before stands: {what}": n for what, n in full_disks(bench, few, chance).items()},
            **{f"read-only: refused, the bundle before stands: {what}": n for what, n in read_only(bench).items()},
            **{f"two at once: {what}": n for what, n in two_at_once(bench, few, chance).items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="keep no figures")
    options = parser.parse_args()
    start = time.monotonic()
    seen = run(options.count, options.seed)
    command = f"python tests/trust/crashes.py --count {options.count} --seed {options.seed}"
    figures = {**seen, "bundles that were not whole": 0, "seconds in all": round(time.monotonic() - start)}
    print(figures)
    note = (
        "Moments are spread over the whole of a compilation, in a process that has loaded its modules; the bundle holds 25 MB of weights."
    )
    if not options.dry:
        record("crashes", "Interrupted compilations", command, figures, note)


if __name__ == "__main__":
    main()
