"""What must hold once a chaos run has settled: every account against every other."""

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from cargo import key_of
from feed import name_in
from filters_for_chaos import pixels_of, proof_of
from harness import query
from storm import log_files

from zgrid.log import EVENTS
from zgrid.protocol.job import OPEN, State

NAMED_MAX = 12
"""How many jobs a problem names."""

CHARGED_MAX, CHARGED_SHARE_MAX = 3, 0.002
"""Good images that were buried because whatever ran them was killed, again and again: nobody can know that it was not
the image's fault. Few can be hit so often."""

STALL_S_MAX = 120.0

TORN_LINES_MAX = 5
"""Lines of a log that a kill cut short."""

CLOSING = {"stored": State.STORED, "discarded": State.DISCARDED, "buried": State.BURIED, "cancelled": State.CANCELLED}


class Job:
    """What a ledger has of one job, and what became of it."""

    __slots__ = (
        "chain", "closed_by", "ends", "failures", "key", "last_sent", "parcel", "reason", "sent", "seq", "state", "uri",
    )  # fmt: skip

    def __init__(self, seq, key, uri, state, failures, reason, chain):
        self.seq, self.key, self.uri, self.state = seq, key.lower(), uri, State(state)
        self.failures, self.reason, self.chain = failures, reason, chain
        self.parcel = self.closed_by = None
        self.sent = self.last_sent = 0
        self.ends = set()


class Verdict:
    """The checks of a run. ``problems``: sentences; ``figures``: what the table at the end has."""

    def __init__(self, storm):
        self.storm = storm
        self.grid = storm.grid
        self.problems = []
        self.figures = Counter()
        self.states = Counter()
        self.warnings = Counter()
        self.jobs = {}

    def check(self):
        """Check everything; return the problems."""
        for name in self.storm.ventilators:
            self.jobs[name] = self._check_ledger(name)
            self._check_histories(name)
        self._check_rows()
        self._check_logs()
        if self.storm.longest_stall_s > STALL_S_MAX:
            self.problems.append(f"nothing was closed for {self.storm.longest_stall_s:.0f} s")
        self.problems += self.storm.vitals.problems(self.storm.seconds)
        return self.problems

    def _wrong(self, what, jobs):
        """Add a problem that some jobs have, if any."""
        if jobs:
            named = "\n    ".join(map(str, jobs[:NAMED_MAX]))
            self.problems.append(f"{what}: {len(jobs)}\n    {named}")

    # -- the ledgers

    def _check_ledger(self, name):
        """Compare a ledger with the record of what was put and of the files; return its jobs by number."""
        ledger, parcels = self.storm.ventilators[name].ledger, self.storm.feeders[name].by_name
        statement = (
            "SELECT seq, hex(key), uri, state, failures, reason, text, size, mtime_ns "
            "FROM jobs JOIN chains ON chains.id = jobs.chain"
        )
        jobs, by_name, broken = {}, {}, []
        for *columns, size, mtime_ns in query(ledger, statement):
            job = jobs[columns[0]] = Job(*columns)
            if name_in(job.uri) in by_name:
                broken.append(f"{job.uri} is there twice")
            by_name[name_in(job.uri)] = job
            job.parcel = parcels.get(name_in(job.uri))
            if job.key != key_of(job.uri, size, mtime_ns):
                broken.append(f"{job.uri} has another key")
        self._wrong(f"accepted, but not in {name}'s ledger", sorted(parcels.keys() - by_name.keys()))
        self._wrong(f"in {name}'s ledger, but from nobody", sorted(by_name.keys() - parcels.keys()))
        self._wrong(f"open in {name}'s ledger", [job.uri for job in jobs.values() if job.state in OPEN])
        self._wrong(f"not right in {name}'s ledger", broken)
        self._check_states(name, jobs.values())
        counted = {state: number for state, number in self.grid.counts(ledger).items() if number}
        found = Counter(job.state for job in jobs.values())
        if counted != found:
            self.problems.append(f"{name}'s ledger counts {counted}, but has {found}")
        self.states.update(found)
        kept = {seq for (seq,) in query(ledger, "SELECT seq FROM spool")}
        needed = {job.seq for job in jobs.values() if job.state is State.BURIED and job.uri.startswith("put:")}
        self._wrong(f"images kept in {name}'s ledger, or not, that should not be so", sorted(kept ^ needed))
        self._check_integrity(ledger)
        return jobs

    def _check_integrity(self, path):
        ((said,),) = query(path, "PRAGMA integrity_check(1)")
        if said != "ok":
            self.problems.append(f"{path.name} is damaged: {said}")

    def _check_states(self, name, jobs):
        """See that each job ended as its image must, or as somebody had asked."""
        wrong, charged, undone, renamed = [], [], [], []
        meddler = self.storm.meddlers[name]
        for job in jobs:
            parcel = job.parcel
            if parcel is None:
                continue
            told = (
                f"{job.seq} {parcel.name} ({parcel.words}) is {job.state.name}, {job.failures} failures: {job.reason}"
            )
            if parcel.seq not in (None, job.seq) or parcel.chain != job.chain or parcel.uri != job.uri:
                renamed.append(f"{told}; it was job {parcel.seq} with {parcel.chain}, not {job.chain}")
            asked = {State.BURIED if verb == "bury" else State.CANCELLED for verb in parcel.asked}
            if job.state is not parcel.end and job.state not in asked:
                (charged if job.state is State.BURIED and job.failures else wrong).append(told)
            decided = None if parcel.name in meddler.murky else meddler.decided.get(parcel.name)
            if decided is not None and job.state not in (decided, State.STORED):
                undone.append(f"{told}; it was {decided.name} by hand")
        self._wrong(f"jobs of {name} that ended as nothing explains", wrong)
        self._wrong(f"jobs of {name} that are not what was said when they were put", renamed)
        self._wrong(f"operations on jobs of {name} that were answered and are not there", undone)
        self.figures["good images buried after crashes"] += len(charged)
        for told in charged:
            self.storm.say(f"  a good image was charged and buried: {told}")
        if len(charged) > max(CHARGED_MAX, CHARGED_SHARE_MAX * len(jobs)):
            self._wrong(f"good images of {name} that were buried", charged)

    def _check_histories(self, name):
        """See that whatever was sent came to an end, which is the last word on each job."""
        jobs = self.jobs[name]
        strangers = set()
        for number, one in enumerate(self.grid.history(self.storm.ventilators[name].ledger), 1):
            for seq in one.seqs:
                job = jobs.get(seq)
                if job is None:
                    strangers.add(seq)
                elif one.event == "sent":
                    job.sent += 1
                    job.last_sent = number
                elif one.event in CLOSING:
                    job.closed_by = number, CLOSING[one.event]
                    job.ends.add(CLOSING[one.event])
        unended, other = [], []
        for job in jobs.values():
            if job.parcel is not None and job.parcel.asked and job.state in job.ends:
                continue  # between an operation's entry and its commit a job may still be sent, or reported
            told = f"{job.seq} {job.uri} is {job.state.name}, was sent {job.sent} times"
            if job.closed_by is None or job.closed_by[0] < job.last_sent:
                unended.append(f"{told}; it was closed at {job.closed_by}, sent last at {job.last_sent}")
            elif job.closed_by[1] is not job.state:
                other.append(f"{told}; its history ends with {job.closed_by[1].name}")
        self.figures["sent"] += sum(job.sent for job in jobs.values())
        self._wrong(f"jobs in {name}'s history that nobody accepted", sorted(strangers))
        self._wrong(f"jobs of {name} whose history has no end", unended)
        self._wrong(f"jobs of {name} whose history ends otherwise", other)

    # -- the sink

    def _check_rows(self):
        """Compare the sink's rows with the ledgers, and each row with its picture."""
        ledgers = {
            query(one.ledger, "SELECT hex(value) FROM meta WHERE name = 'ledger_id'")[0][0]: name
            for name, one in self.storm.ventilators.items()
        }
        columns = "hex(ledger), seq, hex(key), uri, digest, size_bytes, picture, media, notes, chain, stored_at"
        rows = query(self.grid.database, f"SELECT {columns} FROM images")
        keys, found, foreign, broken, untold = Counter(), Counter(), [], [], []
        for ledger, seq, key, uri, *rest, stored_at in rows:
            job = self.jobs.get(ledgers.get(ledger), {}).get(seq)
            keys[key] += 1
            found[ledger, seq] += 1
            if job is None or job.uri != uri or job.key != key.lower() or job.parcel is None:
                foreign.append(f"{seq} {uri}")
                continue
            if job.state is not State.STORED:
                untold.append(f"{ledgers[ledger]} {seq} {uri} is {job.state.name}: {job.reason}, stored {stored_at}")
            if wrong := self._unlike(job, *rest):
                broken.append(f"{seq} {uri}: {wrong}")
        self._wrong("keys with several rows", [key for key, number in keys.items() if number > 1])
        self._wrong("jobs with several rows", [one for one, number in found.items() if number > 1])
        self._wrong("rows of no job", foreign)
        self._wrong("rows that are not what their image says", broken)
        self._wrong("rows of jobs that are not stored", untold)
        ids = {name: ledger for ledger, name in ledgers.items()}
        lost = [
            f"{name} {job.seq} {job.uri}"
            for name, jobs in self.jobs.items()
            for job in jobs.values()
            if job.state is State.STORED and (ids[name], job.seq) not in found
        ]
        self._wrong("stored jobs without a row", lost)
        self.figures["rows"] = len(rows)
        self._check_pictures({row[6] for row in rows if row[6]}, sum(row[6] is not None for row in rows))
        self._check_integrity(self.grid.database)

    def _unlike(self, job, digest, size_bytes, picture, media, notes, chain):
        """Say in what a row differs from what it must be; None when it is right."""
        data = job.parcel.data
        expected = job.parcel.digest if job.parcel.has_picture else None  # only a filter that looks makes it known
        if (digest, size_bytes, chain) != (expected, len(data), job.chain):
            return f"digest {digest and digest.hex()}, {size_bytes} bytes, chain {chain}"
        if not job.parcel.has_picture:
            return None if picture is None else f"it has the picture {picture}"
        if json.loads(notes or "{}").get("proof") != proof_of(data):
            return f"its notes are {notes}"
        if picture is None or media != "image/png" or not picture.startswith(f"{job.key[:2]}/{job.key}."):
            return f"its picture is {picture} ({media})"
        pixels = _pixels(self.grid.pictures_folder / picture)
        if pixels is None:
            return "its picture does not decode, or is not there"
        return None if np.array_equal(pixels, pixels_of(data)) else "its picture is another one's"

    def _check_pictures(self, named, rows):
        there = self.grid.pictures()
        self.figures["pictures"] = len(there)
        self._wrong("pictures without a row", sorted(there - named))
        self._wrong("rows without their picture", sorted(named - there))
        if rows != len(named):
            self.problems.append(f"{rows} rows name {len(named)} pictures")
        left = list((self.grid.pictures_folder / ".tmp").glob("*"))
        self._wrong("drafts of pictures that are left", left)

    # -- the logs

    def _check_logs(self):
        torn, words, errors, unknown = [], [], [], []
        for path in log_files(self.grid.folder):
            with closing(path.open("rb")) as lines:
                for line in lines:
                    self._check_line(path, line, torn, words, errors, unknown)
        if len(torn) > TORN_LINES_MAX:
            self._wrong("lines of logs that are torn", torn)
        self._wrong("lines of logs that are no JSON", words)
        self._wrong("lines of level error", errors)
        self._wrong("events that are not in the vocabulary", unknown)

    def _check_line(self, path, line, torn, words, errors, unknown):
        if b'"event":"job_stored"' in line or not line.strip():
            return
        text = line.decode("utf-8", "replace").strip()
        if not text.startswith("{"):
            if text not in self.storm.ends:
                words.append(f"{path.name}: {text}")
            return
        try:
            entry = json.loads(text)
        except ValueError:
            torn.append(f"{path.name}: {text}")
            return
        if entry["event"] not in EVENTS:
            unknown.append(f"{path.name}: {text}")
        if entry["level"] == "error":
            errors.append(f"{path.name}: {text}")
        elif entry["level"] == "warning":
            self.warnings[entry["role"], entry["event"]] += entry.get("count", 0) + 1


def _pixels(path: Path):
    """Return the pixels of a picture; None where it does not decode or is not there."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
