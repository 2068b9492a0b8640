"""What is fed to Lamina by someone who means harm: specs, bundles, checkpoints and adapters, each tried in a process that is watched.

python tests/trust/hostile.py [--count 20000] [--seed 0] [--only NUMBER] [--jobs 2] [--seconds N] [--dry]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import hostile_files
import hostile_specs
from hostile_traits import TRAITS, traits
from trust import record

import lamina
from lamina.compiler.missing import MachineError
from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.schema.diagnostics import SpecError

SECONDS = 5  # of the processor, for one input
WALL = 20  # seconds of the clock that an input may wait, for a pipe
BUSY = 0.2  # seconds of the processor in that time, with which it does not wait
START = 300  # seconds, for a process to load PyTorch, on a machine that others use too
MEMORY = 2 << 30  # bytes of address space that the inputs of a process may ask for
BATCH = 500  # inputs of one process
REFUSED = (SpecError, BundleError, InputError, MachineError, BackendMissing)
WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown", "shutil.rmtree")
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # what bidirectional text is turned with
KINDS = (hostile_specs.make,) * 4 + (hostile_files.bundle,) * 2 + (hostile_files.checkpoint,) * 3 + (hostile_files.adapter,)


_worked = 0.0
_forking = threading.Lock()


class Hang(BaseException):
    """An input that takes too long."""


@dataclass(frozen=True)
class Outcome:
    """What an input came to: `taken`, `refused`, or what is wrong."""

    number: int
    kind: str
    end: str
    seconds: float = 0.0
    text: str = ""
    traits: tuple[str, ...] = ()

    @property
    def is_finding(self) -> bool:
        return self.end not in ("taken", "refused")


@dataclass
class Room:
    """A folder for the input, and one beside it that nothing may touch or, but for a user's own links, read."""

    root: Path
    touched: list[str]
    watching: bool = False

    @property
    def inside(self) -> Path:
        return self.root / "in"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def clear(self) -> None:
        """Empty the one, and write the other anew."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.inside.mkdir(parents=True)
        self.outside.mkdir()
        (self.outside / "secret.yaml").write_text("lamina: 1\nblocks:\n  secret:\n    body:\n      - relu\n")

    def listing(self) -> list[tuple[str, int, int]]:
        return sorted(
            (str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in (*self.outside.iterdir(), *self.root.iterdir())
        )

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note what a watched call does outside its folder."""
        if not self.watching:
            return
        if event in RUNS:
            self.touched.append(f"{event}{arguments!r:.200}")
        elif event in WRITES or (event == "open" and isinstance(arguments[0], str | bytes | Path)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if path.startswith(f"{self.outside}/") or (writes and not path.startswith((f"{self.inside}/", "/dev/", "/proc/"))):
                self.touched.append(f"{event} {path}")


def attempt(number: int, seed: int, room: Room) -> Outcome:
    """One input, made and tried."""
    room.clear()
    chance = Random(f"{seed}:{number}")
    kind, call = KINDS[number % len(KINDS)](chance, room.inside)
    before, has = room.listing(), traits(kind, room.inside)
    start = time.process_time()
    try:
        end, text = _tried(call, room)
    except Hang:  # just as it ended
        end, text = "too long", ""
    seconds = time.process_time() - start
    if room.touched or room.listing() != before:
        end, text = "a file touched, or a program run", "; ".join(room.touched[:3]) or str(room.listing())
    return Outcome(number, kind, end, seconds, text, has)


def _tried(call: Callable[[], object], room: Room) -> tuple[str, str]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL)
    room.touched.clear()
    global _worked
    _worked = time.process_time()
    room.watching = True
    try:
        call()
    except REFUSED as error:
        return unclear(error, room.inside), str(error)[:1000]
    except Hang:
        return "too long", traceback.format_exc()[-1500:]
    except MemoryError:
        return "too much memory", traceback.format_exc()[-1500:]
    except BaseException as error:
        return f"{type(error).__name__}", traceback.format_exc()[-1500:]
    finally:
        room.watching = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "taken", ""


def unclear(error: Exception, folder: Path) -> str:
    """`refused`, or what a refusal lacks: a place, or letters that a terminal shows as they are."""
    text = str(error)
    if any((unicodedata.category(c) in ("Cc", "Cs") and c != "\n") or unicodedata.bidirectional(c) in TURNING for c in text):
        return "a refusal with control characters"
    if isinstance(error, SpecError):
        placed = error.diagnostics and all(d.span.file and d.span.line >= 1 and d.span.column >= 1 for d in error.diagnostics)
    else:
        placed = True if isinstance(error, InputError | BackendMissing | MachineError) else folder.name in text
    return "refused" if placed else "a refusal without a place"


def batch(numbers: range, seed: int, room: Room, out: int) -> NoReturn:
    """Try the inputs in this process, a line for each; it is not expected to live through all of them."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(name, _hang)
    sys.addaudithook(room.hook)
    warnings.simplefilter("ignore")
    _load_once()
    os.write(out, b"\n")  # from here on nothing may be silent for long
    for number in numbers:
        try:
            outcome = attempt(number, seed, room)
        except BaseException:
            outcome = Outcome(number, "harness", "a mistake of this script", text=traceback.format_exc()[-1500:])
        os.write(out, (json.dumps(asdict(outcome)) + "\n").encode())
    os._exit(0)


def _load_once() -> None:
    """PyTorch makes a folder of its own when it first loads a program."""
    lamina.Session(hostile_files.good() / "bundle", "torch", threads=1).close()


def _hang(number: int, frame: object) -> None:
    """Of the clock, what works goes on: others use the machine. What waits does not."""
    global _worked
    worked, _worked = _worked, time.process_time()
    if number == signal.SIGALRM and _worked - worked > BUSY:
        signal.setitimer(signal.ITIMER_REAL, WALL)
    else:
        raise Hang


def outcomes(numbers: range, seed: int, room: Room) -> Iterator[Outcome]:
    """Of all these inputs, in processes that are started anew when one dies."""
    while numbers:
        part = numbers[:BATCH]
        for outcome in _batch_outcomes(part, seed, room):
            yield outcome
            numbers = numbers[1:]


def _batch_outcomes(numbers: range, seed: int, room: Room) -> Iterator[Outcome]:
    """Until the process ends; the input at which it died, if it did, is the last."""
    with _forking:  # no other child may inherit the writing end, or it would not end with this one
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                batch(numbers, seed, room, writing)
            finally:
                os._exit(1)
        os.close(writing)
    done, rest, patience = 0, b"", START
    try:
        while True:
            if not select.select([reading], [], [], patience)[0]:
                os.kill(child, signal.SIGKILL)
            got = os.read(reading, 1 << 16)
            if not got:
                break
            *whole, rest = (rest + got).split(b"\n")
            patience = 8 * WALL
            for line in filter(None, whole):
                done += 1
                yield Outcome(**json.loads(line))
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if done < len(numbers):
        how = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        yield Outcome(numbers[done], KINDS[numbers[done] % len(KINDS)].__name__, how)


def again(outcome: Outcome, seed: int, room: Room) -> Outcome:
    """What is too slow is tried once more, in another room while the next are tried in this one: others use the machine."""
    if outcome.end != "too long":
        return outcome
    number = outcome.number
    return next(outcomes(range(number, number + 1), seed, Room(room.root.with_name(f"{room.root.name}-again"), [])))


def run(numbers: range, seed: int, folder: Path, end: float, jobs: int) -> list[Outcome]:
    """The outcomes of hostile inputs, up to a time of the clock, in so many rooms at once."""
    parts = [range(numbers[0] + len(numbers) * i // jobs, numbers[0] + len(numbers) * (i + 1) // jobs) for i in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda i: _part(parts[i], seed, Room(folder / f"room{i}", []), end), range(jobs))
        return [outcome for part in found for outcome in part]


def _part(numbers: range, seed: int, room: Room, end: float) -> list[Outcome]:
    """What is found is said at once."""
    found = []
    for outcome in outcomes(numbers, seed, room):
        found.append(again(outcome, seed, room))
        if found[-1].is_finding:
            print(f"{found[-1].number} {found[-1].kind}: {found[-1].end} ({found[-1].seconds:.1f} s)\n{found[-1].text}\n", flush=True)
        if time.monotonic() > end:
            break
    return found


def prepare(folder: Path) -> None:
    """Write the good files in a process of its own: PyTorch's threads do not live through a fork."""
    (folder / "good").mkdir()
    child = os.fork()
    if not child:
        try:
            hostile_files.prepare(folder / "good")
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the good files could not be written")
    hostile_files.start_from(folder / "good")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop then, whatever the count")
    parser.add_argument("--dry", action="store_true", help="keep no figures")
    options = parser.parse_args()
    numbers = range(options.first, options.count) if options.only is None else range(options.only, options.only + 1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        found = run(numbers, options.seed, Path(folder), start + options.seconds, min(options.jobs, len(numbers)))
    findings = [outcome for outcome in found if outcome.is_finding]
    kinds = Counter(outcome.kind.partition(":")[0] for outcome in found)
    ends = Counter(outcome.end for outcome in found)
    print(f"{len(found)} inputs, {dict(ends)}, {dict(Counter(t for o in found for t in o.traits))}, {time.monotonic() - start:.0f} s")
    if options.only is None and not options.dry:
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        _record(found, kinds, ends, peak, options.seed, time.monotonic() - start)
    return bool(findings)


def _record(found: list[Outcome], kinds: Counter[str], ends: Counter[str], peak: int, seed: int, seconds: float) -> None:
    bundles, checkpoints, adapters = kinds["bundle"], kinds["checkpoint"], kinds["adapter"]
    figures = {
        "inputs": len(found),
        "of them specs": len(found) - bundles - checkpoints - adapters,
        "of them bundles, checkpoints, adapters": f"{bundles}, {checkpoints}, {adapters}",
        **{f"of them {trait}": sum(trait in o.traits for o in found) for trait in TRAITS},
        "refused, with a place": ends["refused"],
        "taken, since the change did no harm": ends["taken"],
        "crashes, wrong exceptions, files touched, unplaced refusals": sum(o.is_finding and not o.end.startswith("too ") for o in found),
        f"over {SECONDS} s of the processor": ends["too long"],
        "over 2 GiB of memory above what a process starts with": ends["too much memory"],
        "the slowest, seconds": round(max(o.seconds for o in found), 2),
        "most memory that a process held, MiB": peak,
        "seconds in all": round(seconds),
    }
    note = "The time of one input is the processor's, since the machine is shared; nothing waits over 20 s of the clock."
    record("hostile", "Hostile input", f"python tests/trust/hostile.py --count {len(found)} --seed {seed}", figures, note)


if __name__ == "__main__":
    sys.exit(main())
