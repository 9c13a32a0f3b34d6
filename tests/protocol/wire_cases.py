"""Messages for the tests of the wire: one or two of each kind whose bytes are kept, and strategies that make any."""

from typing import Any

from hypothesis import strategies as st

from zgrid.protocol.messages import (
    KINDS,
    Acks,
    Answer,
    Ask,
    Beat,
    Bye,
    Code,
    Hello,
    Holds,
    Jobs,
    Message,
    Outcomes,
    Put,
    Question,
    Refuse,
    Results,
    Roster,
    Welcome,
    Who,
)

BOOT = bytes.fromhex("0102030405060708")
LEDGER = bytes.fromhex("101112131415161718191a1b1c1d1e1f")
KEYS = bytes(range(0x20, 0x40))
URIS = ["file:///photos/a.jpg", "zip:file:///photos/b.zip!/caf%C3%A9.png"]
FACE = {
    "box": [10, 20, 30, 40],
    "score": 0.75,
    "landmarks": [[1.5, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 1.0]],
}


def _jobs(images: tuple[bytes, ...], single: bool) -> Jobs:
    return Jobs(
        boot=BOOT, ledger=LEDGER, lane=7, chain="faces highlight:width_px=4", ttr_ms=60_000, single=single,
        seqs=[41, 42], attempts=[1, 2], keys=KEYS, uris=URIS, sizes=[3, 1 << 33],
        mtimes_ns=[1_700_000_000_000_000_000, -1], waits=[0, 12], images=images,
    )  # fmt: skip


VECTORS: dict[str, Message] = {
    "01-hello": Hello(
        role="worker", name="w7", boot=BOOT, host="k/4026531840", procs=8, filters={"faces": "1", "highlight": "2"}
    ),
    "01-hello-reads": Hello(
        role="worker", name="w8", boot=BOOT, host="k/4026531840", procs=2, filters={"faces": "2"},
        reads=["file:///photos", "file:///srv/old%20ones.zip"],
    ),
    "01-hello-ventilator": Hello(role="ventilator", name="v1", boot=BOOT, host="k/4026531840", ledger=LEDGER),
    "02-welcome": Welcome(
        name="v1", boot=BOOT, lane=7, address="tcp://*:5601", sinks=["tcp://sink.lan:5561"],
        limits={"beat_interval_ms": 1000, "beats_missed_max": 3, "unsettled_bytes_max": 32 << 20},
    ),
    "03-refuse": Refuse(reason="no lane can be opened: give --lanes more ports", final=True),
    "04-who": Who(boot=BOOT),
    "05-beat": Beat(boot=BOOT, lane=7, queued=3, leaving=True, seqs=[41, 42], progress=[-1.0, 0.5]),
    "05-beat-ventilator": Beat(boot=BOOT, lane=7, serial=19),
    "06-bye": Bye(boot=BOOT, lane=7, reason="asked to stop"),
    "07-jobs-inline": _jobs((b"\xff\xd8\xff", b"\x89PNG"), single=True),
    "07-jobs-by-reference": _jobs((), single=False),
    "08-outcomes": Outcomes(
        boot=BOOT, lane=7, serial=19, seqs=list(range(41, 48)), attempts=[1, 1, 1, 1, 2, 3, 1], codes=bytes(Code),
        work_ms=812.5, reasons={"2": {"reason": "not an image"}, "4": {"reason": "the child died", "signal": 11}},
    ),
    "08-outcomes-carries": Outcomes(
        boot=BOOT, lane=7, serial=21, seqs=[49, 50], attempts=[1, 1], codes=bytes(2), work_ms=97.0,
        carries={"1": 183_400},
    ),
    "08-outcomes-unread": Outcomes(
        boot=BOOT, lane=7, serial=20, seqs=[48], attempts=[1], codes=bytes([Code.TROUBLED]),
        reasons={"0": {"reason": "is not at or below a path that this worker may read (--allow)", "unread": True}},
    ),
    "09-results": Results(
        ledger=LEDGER, worker="w7", chain="faces highlight", chain_version="faces=1 highlight=2", seqs=[41, 42],
        attempts=[1, 2], keys=KEYS, uris=URIS, sizes=[3, 1 << 33], waits=[12.5, 0.0], reads=[0.25, 1.0],
        works=[88.0, 90.5], widths=[4000, None], heights=[3000, None], formats=["JPEG", None],
        digests=[bytes(range(32)), None], notes=[{"detector": "yunet_2023mar", "faces": [FACE]}, None],
        media=["image/jpeg", None], pictures=[0, -1], images=(b"\xff\xd8\xff\xe0",),
    ),
    "10-acks": Acks(ledger=LEDGER, seqs=[41, (1 << 63) - 1]),
    "11-ask": Ask(ledger=LEDGER, seqs=[41, 42], keys=KEYS),
    "12-holds": Holds(ledger=LEDGER, held=[41], unknown=[42], busy=True),
    "13-question": Question(id=5, body={"what": "why", "job": "41"}),
    "14-answer": Answer(
        id=5, body={"found": True, "job": {"seq": 41, "key": KEYS[:16], "rate": -0.5, "note": None, "uri": "caf\u00e9"}}
    ),
    "05-beat-alive": Beat(boot=BOOT, lane=7, seqs=[41, 42], progress=[-1.0, 0.25], alive=[42]),
    "15-put": Put(
        id=6, chain="faces", priority=-5, delay_ms=60_000, ttr_ms=5000, attempts=2, names=["a.jpg", "caf\u00e9.png"],
        images=(b"\xff\xd8\xff", b"\x89PNG"),
    ),
    "02-welcome-curve": Welcome(
        name="v1", boot=BOOT, lane=7, address="tcp://*:5601", sinks=["tcp://sink.lan:5561"], sink_keys=KEYS,
    ),
    "16-roster": Roster(
        names=["w7", "caf\u00e9"], roles=["worker", "sink"], keys=KEYS + KEYS[::-1], places=["", "tcp://sink.lan:5560"]
    ),
}  # fmt: skip
"""File name under ``tests/vectors/v1`` -> the message that it holds."""

INT_MAX = (1 << 63) - 1
_ints = st.integers(0, INT_MAX)
_seq = st.integers(1, INT_MAX)
_attempt = st.integers(1, (1 << 31) - 1)
_ms = st.floats(0, 1e15) | st.integers(0, 10**15)
_text = st.text(max_size=40)
_boot = st.binary(min_size=8, max_size=8)
_ledger = st.binary(min_size=16, max_size=16)
_leaf = (
    st.none() | st.booleans() | st.integers(-(1 << 63), INT_MAX) | st.floats(allow_nan=False, allow_infinity=False)
    | _text | st.binary(max_size=20)
)  # fmt: skip
_plain = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4), max_leaves=12
)
_map = st.dictionaries(_text, _plain, max_size=3)


def _column(of: st.SearchStrategy[Any], jobs: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, min_size=jobs, max_size=jobs)


def _keys(jobs: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=16 * jobs, max_size=16 * jobs)


def _or_nil(of: st.SearchStrategy[Any], jobs: int) -> st.SearchStrategy[list[Any]]:
    return _column(st.none() | of, jobs)


def _fields(kind: type[Message], jobs: int) -> dict[str, st.SearchStrategy[Any]]:
    """Return a strategy for each field of a kind, for a message of so many jobs."""
    pixels = st.integers(0, (1 << 31) - 1)
    common = {
        "boot": _boot, "ledger": _ledger, "lane": _seq, "name": _text, "reason": _text, "chain": _text,
        "seqs": _column(_seq, jobs), "attempts": _column(_attempt, jobs), "keys": _keys(jobs), "id": _ints,
        "body": _map, "uris": _column(st.text(max_size=200), jobs), "sizes": _column(_ints, jobs), "serial": _seq,
    }  # fmt: skip
    special: dict[type[Message], dict[str, st.SearchStrategy[Any]]] = {
        Hello: {"role": st.text(max_size=32), "host": _text, "procs": st.integers(0, 65536),
                "filters": st.dictionaries(_text, _text, max_size=5), "ledger": st.binary(max_size=16)},
        Welcome: {"address": _text, "sinks": _column(_text, jobs), "lane": _ints,
                  "sink_keys": st.just(b"") | st.binary(min_size=32 * jobs, max_size=32 * jobs),
                  "limits": st.dictionaries(_text, _ints, max_size=5)},
        Refuse: {"final": st.booleans()},
        Who: {},
        Beat: {"lane": _ints, "queued": _ints, "serial": _ints, "leaving": st.booleans(),
               "progress": _column(st.floats(-1, 1), jobs), "alive": st.lists(_seq, max_size=3)},
        Bye: {"lane": _ints},
        Jobs: {"ttr_ms": _seq, "single": st.booleans(), "waits": _column(_ints, jobs),
               "mtimes_ns": _column(st.integers(-(1 << 63), INT_MAX), jobs),
               "images": st.sampled_from((0, jobs)).flatmap(lambda n: _column(st.binary(max_size=9), n)).map(tuple)},
        Outcomes: {"codes": st.binary(min_size=jobs, max_size=jobs).map(lambda raw: bytes(byte % 7 for byte in raw)),
                   "work_ms": _ms, "reasons": st.dictionaries(_text, _map, max_size=3),
                   "carries": st.dictionaries(_text, _ints, max_size=3)},
        Results: {"worker": _text, "chain_version": _text, "waits": _column(_ms, jobs), "reads": _column(_ms, jobs),
                  "works": _column(_ms, jobs), "widths": _or_nil(pixels, jobs), "heights": _or_nil(pixels, jobs),
                  "formats": _or_nil(st.text(max_size=32), jobs), "digests": _or_nil(st.binary(max_size=32), jobs),
                  "notes": _or_nil(_map, jobs), "media": _or_nil(st.text(max_size=64), jobs)},
        Acks: {}, Ask: {}, Question: {}, Answer: {},
        Put: {"priority": st.integers(-(1 << 31), (1 << 31) - 1), "delay_ms": st.integers(0, 10**9),
              "ttr_ms": st.integers(0, 10**8), "attempts": st.integers(0, (1 << 31) - 1), "names": _column(_text, jobs),
              "images": _column(st.binary(max_size=9), jobs).map(tuple)},
        Roster: {"names": _column(_text, jobs), "roles": _column(st.text(max_size=32), jobs),
                 "keys": st.binary(min_size=32 * jobs, max_size=32 * jobs), "places": _column(_text, jobs)},
        Holds: {"held": _column(_seq, jobs), "unknown": st.lists(_seq, max_size=5), "busy": st.booleans()},
    }  # fmt: skip
    wanted = {entry for entry in kind.__dataclass_fields__ if entry != "images" or kind in (Jobs, Put)}
    return {name: one for name, one in {**common, **special[kind]}.items() if name in wanted}


@st.composite
def any_of(draw: st.DrawFn, kind: type[Message]) -> Message:
    """Draw a message of ``kind`` that the protocol allows."""
    jobs = draw(st.integers(1, 6))
    values = draw(st.fixed_dictionaries(_fields(kind, jobs)))
    if kind is Results:
        order = draw(st.permutations(range(jobs)))[: draw(st.integers(0, jobs))]
        values["pictures"] = [order.index(at) if at in order else -1 for at in range(jobs)]
        values["images"] = tuple(draw(st.lists(st.binary(max_size=9), min_size=len(order), max_size=len(order))))
    return kind(**values)


any_message = st.sampled_from(sorted(KINDS)).flatmap(lambda number: any_of(KINDS[number]))
"""Any message of any kind."""
