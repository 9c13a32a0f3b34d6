"""A ventilator from Python: put images, ask what became of them, and do what an operator does.

with zgrid.Client("tcp://photos.lan:5550") as client:
    placed = client.put("img_0042.jpg", priority=-1)
    print(client.why(placed.job)["job"]["state"])
"""

import math
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from zgrid.errors import RefusedError, SettingsError, ZGridError
from zgrid.protocol.limits import (
    BATCH_JOBS_MAX,
    DELAY_MS_MAX,
    FRAME_BYTES_MAX,
    PRIORITY_MAX,
    TEXT_CHARS_MAX,
    TTR_MS_MAX,
)
from zgrid.protocol.rights import OPERATOR
from zgrid.settings import connectable, is_elsewhere, is_ipc
from zgrid.sources import path_to_uri
from zgrid.sources.content import ARCHIVES, HEAD_BYTES, kind_of
from zgrid.transport.client import Client as Link
from zgrid.transport.keyring import Key, find_key, plain_call

PUT_BYTES = 8 << 20
"""Images of one message: more of them make it no faster, and one that is lost is sent again as a whole."""

PUT_WAITS_S = 0.05
"""An image that waits this long for others to go with it goes when the next one comes."""

JOBS_MAX = 1000
"""Jobs that one question names."""

ATTEMPTS_MAX = 1000
"""Attempts of one job; as many as the setting attempts_max may say."""

Image = bytes | bytearray | memoryview | str | Path | tuple[str, bytes]
"""An image's bytes, the path of its file, or its name and bytes."""

Job = int | str | Path
"""A job by its number, its key in hexadecimal, its URI, or the path of its image."""

Refused = Callable[[Image, ZGridError], None]


class Placed(NamedTuple):
    """The job of an image that was put. ``known``: it was there already, and is in ``state``."""

    job: int
    known: bool
    state: str


class Changed(NamedTuple):
    """What an operation did. ``jobs``: the first thousand that it changed; ``unchanged``: names, each with why not.

    ``unknown``: how many of these name no job at all.
    """

    changed: int
    jobs: list[int]
    unchanged: list[tuple[str, str]]
    unknown: int = 0


class Client:
    """A connection to the ventilator at ``address``, for one thread; close it, or use it in a ``with``.

    ``timeout_ms``: how long there may be no sign of life. ``keys``: an operator's key file or the folder that has it,
    else what ZGRID_KEYS names, else the default folder, if it is there; ``insecure`` does without. Where there are none
    and it was not said, a call to another machine is a UserWarning.

    Every method raises ``zgrid.errors.ZGridError`` with a sentence: SettingsError where what was asked for cannot be,
    RefusedError where it cannot be done now, UnansweredError where nobody answers. Whatever returns was done, and is on
    the ventilator's disk; whatever raises may simply be repeated, for no operation does its work twice.
    """

    def __init__(
        self, address: str, timeout_ms: int = 5000, *, keys: str | Path | None = None, insecure: bool = False
    ) -> None:
        try:
            self.address = connectable(address)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        self.timeout_ms = timeout_ms
        key = None if insecure else key_for(address, keys)
        if key is None and not insecure and (sentence := plain_sentence(address)):
            warnings.warn(sentence, stacklevel=2)
        self._link = Link(self.address, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    # -- images

    def put(
        self, image: Image, name: str | None = None, *, chain: str | Sequence[str] | None = None, priority: int = 0,
        delay_s: float = 0.0, ttr_ms: int | None = None, attempts: int | None = None,
    ) -> Placed:  # fmt: skip
        """Have an image looked at; return once its job and its bytes are on the ventilator's disk.

        ``image``: its bytes, or the path of its file, whose name is the default of ``name``. ``chain``: filters, such
        as ``["faces", "highlight:width_px=4"]``, instead of the ventilator's. Of two jobs the one of smaller
        ``priority`` goes first, else the older; nobody gets it before ``delay_s`` seconds are over. ``ttr_ms`` and
        ``attempts``: its own time-to-run and number of attempts. The same bytes under the same name are the same job.
        """
        terms = _terms(chain, priority, delay_s, ttr_ms, attempts)
        if name:
            _check_name(name)
        named, data = _read(image)
        (placed,) = self._put([(name or named, data)], terms)
        if isinstance(placed, ZGridError):
            raise placed
        return placed

    def put_many(
        self, images: Iterable[Image], *, chain: str | Sequence[str] | None = None, priority: int = 0,
        delay_s: float = 0.0, ttr_ms: int | None = None, attempts: int | None = None,
        on_refused: Refused | None = None,
    ) -> Iterator[Placed]:  # fmt: skip
        """Put many images, some in each message, and yield their jobs in order, each once it is on disk.

        An image that cannot be read or is none raises the error, unless ``on_refused`` takes it, with the image; then
        the others go on. Nothing is put before the first job is asked for.
        """
        terms = _terms(chain, priority, delay_s, ttr_ms, attempts)
        batch: list[tuple[Image, str, bytes]] = []
        size, since = 0, 0.0
        for image in images:
            try:
                name, data = _read(image)
            except ZGridError as error:
                if on_refused is None:
                    raise
                on_refused(image, error)
                continue
            full = size + len(data) > PUT_BYTES or len(batch) >= BATCH_JOBS_MAX
            if batch and (full or time.monotonic() - since > PUT_WAITS_S):
                yield from self._put_batch(batch, terms, on_refused)
                batch, size = [], 0
            if not batch:
                since = time.monotonic()
            batch.append((image, name, data))
            size += len(data)
        yield from self._put_batch(batch, terms, on_refused)

    def _put_batch(
        self, batch: list[tuple[Image, str, bytes]], terms: dict[str, Any], on_refused: Refused | None
    ) -> Iterator[Placed]:
        if not batch:
            return
        placed = self._put([(name, data) for _, name, data in batch], terms)
        for (image, _, _), one in zip(batch, placed, strict=True):
            if not isinstance(one, ZGridError):
                yield one
            elif on_refused is None:
                raise one
            else:
                on_refused(image, one)

    def _put(self, images: list[tuple[str, bytes]], terms: dict[str, Any]) -> list[Placed | ZGridError]:
        """Put images in one message; those that are refused have their error in their place, and the rest is put."""
        placed: dict[int, Placed | ZGridError] = {}
        places = list(range(len(images)))
        while places:
            names, data = [images[place][0] for place in places], [images[place][1] for place in places]
            try:
                answer = self._link.put(names, data, terms, self.timeout_ms)
            except RefusedError as error:
                if error.image is None:
                    raise
                placed[places.pop(error.image)] = error
                continue
            jobs = zip(answer["jobs"], answer["known"], answer["states"], strict=True)
            placed |= {place: Placed(*job) for place, job in zip(places, jobs, strict=True)}
            break
        return [placed[place] for place in range(len(images))]

    # -- questions

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the whole answer to a question, as PROTOCOL.md has it."""
        return self._link.ask(question, self.timeout_ms)

    def status(self) -> dict[str, Any]:
        """Return how everything stands."""
        return self.ask({"what": "status"})

    def why(self, job: Job) -> dict[str, Any]:
        """Return the life of one job: ``job``, ``counts``, ``history`` and ``evidence``.

        Raises SettingsError where there is no such job.
        """
        return self._known(self.ask({"what": "why", "job": job_name(job)}))

    def jobs(
        self, state: str | None = None, *, source: str | None = None, chain: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return up to ``limit`` (at most 1000) jobs, newest first.

        ``state`` is ready, delayed, sent, finished, stored, discarded, buried or cancelled; ``source`` a pattern over
        the whole URI, such as ``"*/2024/*.jpg"``.
        """
        question = {"what": "jobs", "state": state, "source": source, "chain": chain, "limit": limit}
        jobs: list[dict[str, Any]] = self.ask(question)["jobs"]
        return jobs

    def peek(self, job: Job | None = None, *, state: str | None = None) -> dict[str, Any] | None:
        """Return one job, ``job`` and ``evidence``, without changing it; None where there is none in the state.

        ``state`` ready, delayed or buried means the next one that would leave it. Raises SettingsError where the job
        that is named does not exist.
        """
        answer = self.ask({"what": "peek", "job": None if job is None else job_name(job), "state": state})
        if job is not None:
            return self._known(answer)
        return answer if answer["found"] else None

    def _known(self, answer: dict[str, Any]) -> dict[str, Any]:
        if not answer["found"]:
            raise SettingsError(str(answer["hint"]))
        return answer

    # -- operations

    def bury(self, *jobs: Job, source: str | None = None, state: str | None = None, reason: str = "") -> Changed:
        """Close open jobs as buried: those that are named, or all whose URI fits the pattern ``source``.

        ``state``, here and below, narrows a pattern; with jobs that are named it is a SettingsError.
        """
        return self._operate("bury", jobs, source=source, state=state, reason=reason)

    def kick(
        self, *jobs: Job, source: str | None = None, state: str | None = None, everything: bool = False,
        reason: str = "",
    ) -> Changed:  # fmt: skip
        """Make buried and delayed jobs ready, with all their attempts.

        A pattern means buried ones, unless ``state`` is delayed; ``everything`` means all that are buried.
        """
        return self._operate("kick", jobs, source=source, state=state, reason=reason, everything=everything)

    def cancel(self, *jobs: Job, source: str | None = None, state: str | None = None, reason: str = "") -> Changed:
        """Withdraw jobs that are open or buried; a pattern means open ones, unless ``state`` is buried."""
        return self._operate("cancel", jobs, source=source, state=state, reason=reason)

    def retry(self, *jobs: Job, source: str | None = None, state: str | None = None, reason: str = "") -> Changed:
        """Have jobs done again that were buried, discarded or cancelled; those that are named may also be delayed."""
        return self._operate("retry", jobs, source=source, state=state, reason=reason)

    def pause(self, chain: str | None = None, reason: str = "") -> dict[str, Any]:
        """Send nothing more, of one chain or at all; what is under way goes on. Lasts until it is resumed."""
        return self.ask({"what": "pause", "chain": chain, "reason": reason})

    def resume(self, chain: str | None = None) -> dict[str, Any]:
        """Send again, of one chain or at all."""
        return self.ask({"what": "resume", "chain": chain})

    def drain(self, reason: str = "") -> dict[str, Any]:
        """Have the ventilator take nothing more, settle what it has accepted, and end with status 0."""
        return self.ask({"what": "drain", "reason": reason})

    def _operate(
        self, verb: str, jobs: Sequence[Job], *, source: str | None, state: str | None, reason: str,
        everything: bool = False,
    ) -> Changed:  # fmt: skip
        question: dict[str, Any] = {"what": verb, "source": source, "state": state, "reason": reason or None}
        if everything:
            question["all"] = True
        names = [job_name(job) for job in jobs]
        questions = [{**question, "jobs": names[at : at + JOBS_MAX]} for at in range(0, len(names), JOBS_MAX)]
        answers = [self.ask(one) for one in questions or [question]]
        return Changed(
            sum(answer["changed"] for answer in answers),
            [seq for answer in answers for seq in answer["jobs"]][:JOBS_MAX],
            [(name, why) for answer in answers for name, why in answer["unchanged"]],
            sum(answer["unknown"] for answer in answers),
        )


def job_name(job: Job) -> str:
    """Return what a ventilator knows a job by: a path on this machine becomes a URI, everything else stays."""
    if isinstance(job, Path):
        return path_to_uri(os.path.abspath(job))  # noqa: PTH100 - links must stay, as in the ledger
    name = str(job)
    if name.isdecimal() or not os.path.exists(name):  # noqa: PTH110 - may be anything, also what is no path
        return name
    return path_to_uri(os.path.abspath(name))  # noqa: PTH100


def key_for(address: str, keys: str | Path | None = None) -> Key | None:
    """Return the operator's key to ask a process with; None where there are none, or it needs none.

    ``keys`` as ``Client`` has it. ZGRID_INSECURE does without. Raises SettingsError for keys that cannot be used.
    """
    named = keys or os.environ.get("ZGRID_KEYS")
    if is_ipc(address) or (_is_insecure() and keys is None):
        return None
    return find_key(OPERATOR, Path(named) if named else None)


def plain_sentence(address: str) -> str | None:
    """Return what to warn with where ``key_for`` found none; None where that is no matter, or meant."""
    return plain_call(address) if is_elsewhere(address) and not _is_insecure() else None


def _is_insecure() -> bool:
    return os.environ.get("ZGRID_INSECURE", "").lower() in {"1", "true", "yes", "on"}


def _read(image: Image) -> tuple[str, bytes]:
    """Return an image's name and bytes. Raises SettingsError where it cannot be read or is none."""
    if isinstance(image, tuple):
        name, data = image
        _check_name(name)
    elif isinstance(image, str | Path):
        name, data = os.path.basename(image), _read_file(image)  # noqa: PTH119 - may be a str
    else:
        name, data = "image", bytes(image)
    if len(data) > FRAME_BYTES_MAX:
        raise SettingsError(f"{name} has {len(data)} bytes; {FRAME_BYTES_MAX} are the most")
    kind = kind_of(data[:HEAD_BYTES])
    if kind is None or kind in ARCHIVES:
        what = "is no image" if kind is None else f"is an archive ({kind}): give it to a ventilator as a source"
        raise SettingsError(f"{image if isinstance(image, str | Path) else name} {what}")
    return name, data


def _check_name(name: object) -> None:
    """Raise SettingsError for what no image can be called: a ventilator would drop the message without a word."""
    if not isinstance(name, str) or len(name) > TEXT_CHARS_MAX:
        what = f"one of {len(name)}" if isinstance(name, str) else repr(name)
        raise SettingsError(f"an image's name must be a text of at most {TEXT_CHARS_MAX} characters, not {what}")


def _read_file(path: str | Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SettingsError(f"{path} is no plain file: put an image's own file, or its bytes from Python")
            if found.st_size > FRAME_BYTES_MAX:
                raise SettingsError(f"{path} has {found.st_size} bytes; {FRAME_BYTES_MAX} are the most")
            return file.read(found.st_size)  # it may be growing
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to does not wait."""
    return os.open(path, flags | os.O_NONBLOCK)


def _terms(
    chain: str | Sequence[str] | None, priority: int, delay_s: float, ttr_ms: int | None, attempts: int | None
) -> dict[str, Any]:
    """Return what PUT says of its images. Raises SettingsError for what cannot be."""
    steps = [chain] if isinstance(chain, str) else chain or []
    text = " ".join(steps)
    if not all(step.strip() for step in steps):
        raise SettingsError("a filter of the chain is empty: name one, or leave it out")
    if len(text) > TEXT_CHARS_MAX:
        raise SettingsError(f"a chain has at most {TEXT_CHARS_MAX} characters, not {len(text)}")
    return {
        "chain": text,
        "priority": _within("priority", priority, -PRIORITY_MAX - 1, PRIORITY_MAX),
        "delay_ms": _within("the delay in ms", _ms(delay_s), 0, DELAY_MS_MAX),
        "ttr_ms": 0 if ttr_ms is None else _within("the time-to-run in ms", ttr_ms, 1, TTR_MS_MAX),
        "attempts": 0 if attempts is None else _within("the number of attempts", attempts, 1, ATTEMPTS_MAX),
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if math.isfinite(seconds) else -1


def _within(what: str, value: int, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise SettingsError(f"{what} must be a whole number from {low} to {high}, not {value!r}")
    return value
