"""One target of scripts/fuzz in a process of its own: attacked until told to stop, or its coverage measured.

    python scripts/fuzz_engine.py attack TARGET FOLDER SECONDS SEED ENGINE
    python scripts/fuzz_engine.py cover TARGET FOLDER
    python scripts/fuzz_engine.py replay TARGET FILE

An input is at fault when the target raises anything, takes more processor time or memory than TIME_S_MAX and the
target's ``memory_mib_max``, or kills the process. What was found is kept as files, one for each place in the code,
the shortest input first seen there.
"""

import atexit
import hashlib
import json
import mmap
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
TIME_S_MAX = 2.0
"""Processor time of one input; all are small, and most take a thousandth of that."""
TELL_S = 0.5
COVER_S_MAX = 60.0
HANG_S = 60
ATHERIS_MODULES = ["zgrid", "PIL", "zipfile", "tarfile", "tomllib"]
"""What is instrumented, so that the fuzzer sees which branches an input takes."""


SCRATCH = Path(tempfile.mkdtemp(prefix="zgrid-fuzz-"))
"""Where targets write what they want to be read."""


def clean() -> None:
    """Remove what the targets wrote."""
    shutil.rmtree(SCRATCH, ignore_errors=True)


def load(name: str) -> ModuleType:
    """Import a target's module; only then, so that the engine can watch what it imports."""
    tempfile.tempdir = str(SCRATCH)
    tests = ROOT / "tests" / ("grid" if name == "sockets" else "sim")
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(tests)]
    import fuzz_targets  # noqa: PLC0415

    return fuzz_targets.load(name)


def place_of(error: BaseException) -> str:
    """Return what went wrong where: the type, and the innermost line of the project that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if str(ROOT) in frame.filename and "/.venv" not in frame.filename] or frames
    last = ours[-1]
    told = re.sub(r"\d+", "N", str(error).splitlines()[0][:200]) if str(error) else ""
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {told}".strip()


class Attack:
    """A target under attack: counts, and keeps what is found."""

    def __init__(self, target: ModuleType, folder: Path, seconds: float) -> None:
        self.target = target
        self.found_folder = folder / "found"
        self.found_folder.mkdir(parents=True, exist_ok=True)
        self.state_file = folder / "state.json"
        self.executions = 0
        self.found: dict[str, dict[str, object]] = {}
        self.began = time.monotonic()
        self.until = self.began + seconds
        self.told_at = 0.0
        self.stopping = False

        self.current = self._current(folder / "current.bin")

    def _current(self, file: Path) -> mmap.mmap:
        """Return a file in memory for the input that is tried, which outlives this process."""
        with file.open("w+b") as opened:
            opened.truncate(8 + self.target.BYTES_MAX)
            return mmap.mmap(opened.fileno(), 0)

    def stop(self, *_: object) -> None:
        """Stop after the input that is being tried."""
        self.stopping = True

    def over(self) -> bool:
        """Say how far it is, now and then; return whether it is time to end."""
        now = time.monotonic()
        if self.stopping or now - self.told_at > TELL_S or now >= self.until:
            self.told_at = now
            self.tell(now - self.began)
        return self.stopping or now >= self.until

    def tell(self, seconds: float) -> None:
        """Write what there is to tell; whoever reads sees either the old or the new."""
        state = {"executions": self.executions, "seconds": seconds, "found": self.found}
        part = self.state_file.with_suffix(".part")
        part.write_text(json.dumps(state))
        part.replace(self.state_file)

    def one(self, data: bytes) -> None:
        """Try one input."""
        self.executions += 1
        data = data[: self.target.BYTES_MAX]
        self.current[:8] = len(data).to_bytes(8, "little")
        self.current[8 : 8 + len(data)] = data
        before = resource.getrusage(resource.RUSAGE_SELF)
        try:
            self.target.attack(data)
        except Exception as error:  # noqa: BLE001  an exception of any kind is what we look for
            self._keep(place_of(error), data)
            return
        after = resource.getrusage(resource.RUSAGE_SELF)
        took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if took_s > TIME_S_MAX:
            self._keep("slow: more than the processor time allowed", data)
        if (after.ru_maxrss - before.ru_maxrss) / 1024 > self.target.MEMORY_MIB_MAX:
            self._keep("large: more than the memory allowed", data)

    def _keep(self, place: str, data: bytes) -> None:
        known = self.found.get(place)
        if known is not None:
            known["times"] = int(str(known["times"])) + 1
            if len(data) >= int(str(known["bytes"])):
                return
        digest = hashlib.sha256(place.encode()).hexdigest()[:12]
        file = self.found_folder / f"{digest}.bin"
        file.write_bytes(data)
        times = known["times"] if known else 1
        self.found[place] = {"file": str(file), "bytes": len(data), "times": times}


def seed_files(target: ModuleType, folder: Path) -> Path:
    """Write the seeds beside what was learnt before; return the folder of both."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return corpus


def with_atheris(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Attack a target with inputs that lead to new branches."""
    import atheris  # noqa: PLC0415  it need not be there

    with atheris.instrument_imports(include=ATHERIS_MODULES):
        target = load(name)
    attack = Attack(target, folder, seconds)
    corpus = seed_files(target, folder)
    signal.signal(signal.SIGTERM, attack.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def one(data: bytes) -> None:
        attack.one(data)
        if attack.over():
            sys.stdout.flush()
            clean()
            os._exit(0)  # libFuzzer has no other way to be told

    def mutate(data: bytes, size_max: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, size_max))
        return target.mutate(data, rng)[:size_max]

    arguments = [
        "fuzz", f"-seed={seed}", f"-artifact_prefix={folder / 'found'}/", f"-timeout={HANG_S}", "-rss_limit_mb=4096",
        "-malloc_limit_mb=4096", "-handle_term=0", "-handle_int=0", f"-max_len={target.BYTES_MAX}",
        "-print_final_stats=0",
        "-verbosity=0", "-close_fd_mask=0", str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


def with_chance(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Attack a target with seeds changed by chance: less clever, and needs nothing but Python."""
    target = load(name)
    attack = Attack(target, folder, seconds)
    corpus = seed_files(target, folder)
    seeds = [file.read_bytes() for file in sorted(corpus.iterdir())]
    signal.signal(signal.SIGTERM, attack.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng = random.Random(seed)
    while not attack.over():
        data = rng.choice(seeds) if rng.random() < 0.9 else rng.randbytes(rng.randrange(200))
        for _ in range(rng.randrange(8)):
            data = target.mutate(data, rng)
        attack.one(data)


def cover(name: str, folder: Path) -> None:
    """Print, as JSON, how much of each of the target's files its corpus reaches, lines and branches, in percent."""
    import coverage  # noqa: PLC0415  it need not be there

    tests = ROOT / "tests" / ("grid" if name == "sockets" else "sim")
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(tests)]
    import fuzz_targets  # noqa: PLC0415

    files = [str(ROOT / file) for file in fuzz_targets.FILES[name]]
    watching = coverage.Coverage(data_file=None, branch=True, include=files, config_file=False)
    watching.start()
    target = load(name)
    until = time.monotonic() + COVER_S_MAX
    for file in sorted((folder / "corpus").iterdir()):
        with suppress(Exception):  # what is at fault has been told
            target.attack(file.read_bytes())
        if time.monotonic() > until:
            break
    watching.stop()
    reached = {}
    for file in files:
        analysis = watching._analyze(file)  # noqa: SLF001  there is no public way to a number
        reached[str(Path(file).relative_to(ROOT))] = analysis.numbers.pc_covered
    print(json.dumps(reached))


def main() -> None:
    """Do what the arguments say."""
    atexit.register(clean)
    what, name, place = sys.argv[1:4]
    if what == "attack":
        attack = with_atheris if sys.argv[6] == "atheris" else with_chance
        attack(name, Path(place), float(sys.argv[4]), int(sys.argv[5]))
    elif what == "cover":
        cover(name, Path(place))
    else:
        load(name).attack(Path(place).read_bytes())


if __name__ == "__main__":
    main()
