"""The parts of the pool that need no process: the arena, the messages, the checks and the back-off."""

import os
import struct
from array import array
from random import Random

import msgpack
import pytest

from zgrid.protocol.messages import Code
from zgrid.roles.arena import KEEP_BYTES, PAGE_BYTES, Arena, Window
from zgrid.roles.link import ChildError, Inbox, Kind, pack, read_made, read_ready
from zgrid.roles.pool import Backoff
from zgrid.roles.report import NOTES_BYTES_MAX, Report, Row, pack_notes, read_report


@pytest.fixture
def arena():
    """An arena, closed afterwards."""
    arena = Arena()
    yield arena
    arena.close()


def test_arena_never_mixes_chunks_up(arena):
    """Whatever is placed and released in whatever order, each chunk reads back as it was while it is there."""
    random, window, placed = Random(7), Window(arena.fd), []
    for _ in range(300):
        if placed and random.random() < 0.5:
            images, region, offsets = placed.pop(random.randrange(len(placed)))
            for image, offset in zip(images, offsets, strict=True):
                assert window.view(offset, len(image)) == image
            arena.release(region)
        images = [random.randbytes(random.randrange(100_000)) for _ in range(random.randrange(1, 4))]
        region, offsets = arena.place(images)
        window.reach(arena.size_bytes)
        placed.append((images, region, offsets))
    assert arena.size_bytes < 64 << 20


def test_arena_reuses_its_room_and_gives_pages_back(arena):
    """Two chunks at a time use the same addresses for ever; after a huge image the pages above the kept ones go."""
    first = arena.place([b"x" * 1000])[0]
    for _ in range(100):
        second = arena.place([b"y" * 1000])[0]
        arena.release(first)
        first = second
    assert first[1] <= PAGE_BYTES + 4096
    arena.release(first)
    region, (offset,) = arena.place([b"z" * (KEEP_BYTES + 5000)])
    arena.release(region)
    window = Window(arena.fd)
    window.reach(arena.size_bytes)
    assert window.view(offset, 10) == b"z" * 10
    assert window.view(KEEP_BYTES, 10) == bytes(10)


def test_arena_that_a_child_made_longer_still_grows(arena):
    """Its child can make the file longer, never shorter; that must not stop the agent."""
    os.ftruncate(arena.fd, 1 << 30)
    _, (offset,) = arena.place([b"z" * (2 << 20)])
    window = Window(arena.fd)
    window.reach(arena.size_bytes)
    assert window.view(offset, 10) == b"z" * 10


def test_the_childs_view_is_read_only(arena):
    """A filter cannot write into the memory that the agent fills."""
    region, (offset,) = arena.place([b"abc"])
    window = Window(arena.fd)
    window.reach(arena.size_bytes)
    with pytest.raises(TypeError):
        window.view(offset, 3)[0] = 1
    assert region == (PAGE_BYTES, PAGE_BYTES + 64)


def test_inbox_takes_messages_in_any_pieces():
    """Messages come out whole and in order however the bytes were cut."""
    stream = b"".join(pack([number, "x" * number * 7], 3) + b"abc" for number in range(50))
    for size in (1, 7, 100, len(stream)):
        inbox, found = Inbox(1000, 10), []
        for start in range(0, len(stream), size):
            inbox.feed(stream[start : start + size])
            while (message := inbox.take()) is not None:
                found.append((message[0][0], bytes(message[1])))
        assert found == [(number, b"abc") for number in range(50)]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<II", 1001, 0),
        struct.pack("<II", 5, 11),
        struct.pack("<II", 1, 0) + b"\xc1",
        struct.pack("<II", 2, 0) + b"\x01\x01",
        struct.pack("<II", 1, 0) + b"\x90",
        struct.pack("<II", 5, 0) + b"\xdd\xff\xff\xff\xff",
        struct.pack("<II", 6, 0) + msgpack.packb([msgpack.Timestamp(1)])[:6],
        struct.pack("<II", 900, 0) + b"\x91" * 900,
    ],
)
def test_inbox_refuses(data):
    """Too long, cut short, not msgpack, not a list, empty, a huge count, an extension, a deep nest."""
    inbox = Inbox(1000, 10)
    inbox.feed(data)
    with pytest.raises(ChildError):
        inbox.take()


def carried(report):
    """Return header and body of a report as the agent gets them."""
    inbox = Inbox(1 << 20, 1 << 20)
    inbox.feed(b"".join(report.take()))
    return inbox.take()


def test_a_report_arrives_as_it_was():
    """Plain results and rows share one order, and every column is as long as the report."""
    report = Report()
    report.keep_plainly(0.5, 1.5)
    row = Row(0, None, 30, 20, "PNG", b"d" * 32, pack_notes({"a": [1, 2.5, None]}), "image/png", b"pic")
    report.add(row, 2.0, 3.0)
    report.add(Row(Code.DISCARDED, "no face"), 0.0, 4.0)
    assert len(report) == 3
    returned = read_report(*carried(report), 3)
    assert not report
    assert returned.codes == bytes((0, 0, 1))
    assert (returned.reads, returned.works) == ([0.5, 2.0, 0.0], [1.5, 3.0, 4.0])
    assert returned.notes == [None, {"a": [1, 2.5, None]}, None]
    assert (returned.widths[1], returned.heights[1], returned.formats[1]) == (30, 20, "PNG")
    assert (returned.pictures, returned.media) == ({1: b"pic"}, [None, "image/png", None])
    assert returned.reasons == {2: {"reason": "no face"}}


GOOD = [0, None, 3, 2, "PNG", b"d" * 32, msgpack.packb({"a": 1}), "image/png", 3]


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 1), (0, -1), (0, True), (1, "kept"), (2, -1), (2, 2**40), (3, "2"), (4, "P\n"), (4, "x" * 33),
        (5, b"short"), (6, b"\xc1"), (6, msgpack.packb([1])), (6, msgpack.packb({1: 2})),
        (6, b"\x81\xa1a" * 20 + b"\x01"),
        (6, b"x" * (NOTES_BYTES_MAX + 1)), (6, msgpack.packb({"a": msgpack.ExtType(1, b"")})),
        (7, None), (7, b"image/png"), (8, None), (8, 2), (8, 4), (8, -1), (8, 1.0),
    ],
)  # fmt: skip
def test_a_row_that_is_not_allowed_is_refused(position, value):
    """Each value of a result is checked for type, range and length before anything uses it."""
    times = array("d", [1.0]).tobytes()
    assert read_report([7, b"\0", times, times, [GOOD]], memoryview(b"pic"), 1).notes == [{"a": 1}]
    bad = [*GOOD[:position], value, *GOOD[position + 1 :]]
    with pytest.raises(ChildError):
        read_report([7, b"\0", times, times, [bad]], memoryview(b"pic"), 1)


@pytest.mark.parametrize(
    "header",
    [
        [7],
        [7, b"", b"", b"", []],
        [7, b"\0\0\0", bytes(24), bytes(24), []],
        [7, b"\4", bytes(8), bytes(8), []],
        [7, b"\0", bytes(7), bytes(8), []],
        [7, b"\0", struct.pack("<d", float("nan")), bytes(8), []],
        [7, b"\0", struct.pack("<d", float("inf")), bytes(8), []],
        [7, b"\0", struct.pack("<d", -1.0), bytes(8), []],
        [7, "\0", bytes(8), bytes(8), []],
        [7, b"\0", bytes(8), bytes(8), {}],
        [7, b"\0\0", bytes(16), bytes(16), [[1, *[None] * 8], [0, *[None] * 8]]],
        [7, b"\1", bytes(8), bytes(8), [[0, "no", None, None, None, None, b"\x80", None, None]]],
    ],
)
def test_columns_that_do_not_fit_are_refused(header):
    """No results, too many, unknown codes, times that are none, rows out of order, notes of a discarded image."""
    with pytest.raises(ChildError):
        read_report(header, memoryview(b""), 2)


def test_random_bytes_build_nothing():
    """Damaged reports either are reports or raise ChildError; nothing else ever comes out."""
    random = Random(3)
    times = array("d", [1.0, 2.0]).tobytes()
    good = msgpack.packb([7, b"\0\1", times, times, [GOOD, [1, "no face", *[None] * 7]]])
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(random.randrange(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        inbox = Inbox(1000, 10)
        inbox.feed(struct.pack("<II", len(data), 3) + data + b"pic")
        try:
            returned = read_report(*inbox.take(), 2)
        except ChildError:
            continue
        assert len(returned.codes) == len(returned.notes) <= 2


@pytest.mark.parametrize("item", [None, [1], [1, None, None], [1, "a/1", "b"], ["1", "a/1", None], [1, 2, None]])
def test_what_a_child_says_of_chains_is_checked(item):
    """Exactly one of version and problem, and a number before them."""
    with pytest.raises(ChildError):
        read_made(item)
    with pytest.raises(ChildError):
        read_ready([Kind.READY, {}, {}, [item]])


@pytest.mark.parametrize("notes", [{"a": object()}, {1: 2}, [1], {"a": "x" * (NOTES_BYTES_MAX + 1)}, {"a": 1 << 64}])
def test_notes_that_are_not_plain_are_refused(notes):
    """The child refuses what its agent would kill it for."""
    with pytest.raises(ValueError, match="notes"):
        pack_notes(notes)


def test_backoff_counts_deaths_within_ten_seconds():
    """Three early deaths in ten seconds slow down, 1 s to 30 s; single ones never do; work forgives."""
    backoff = Backoff()
    assert [backoff.died_early(now) for now in (0, 6, 12, 18)] == [0, 0, 0, 0]
    assert [backoff.died_early(20) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    backoff.worked()
    assert backoff.died_early(21) == 0
