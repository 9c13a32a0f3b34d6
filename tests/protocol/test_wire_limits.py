"""Hostile headers: bombs of depth, length and number cost neither memory nor the process."""

import struct
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from test_wire import SAMPLES, frames_of, header_of
from wire_cases import LEDGER, URIS, VECTORS

from zgrid.errors import PeerError
from zgrid.protocol import checks
from zgrid.protocol.limits import BATCH_JOBS_MAX, HEADER_BYTES_MAX, HEADER_VALUES_MAX, INT_MAX, NOTES_DEPTH_MAX
from zgrid.protocol.messages import Acks, Answer, Beat, Jobs, Outcomes, Question, Results
from zgrid.protocol.wire import decode, encode

MEMORY_BYTES_MAX = 100 << 20
"""What judging one header may cost, as PROTOCOL.md says with some room."""

QUESTION_HEAD = encode(VECTORS["13-question"])[0]
NAN = float("nan")


def refuse(header: bytes) -> int:
    """Assert that a header is refused by PeerError; return how many bytes that took at most."""
    tracemalloc.start()
    try:
        with pytest.raises(PeerError):
            decode([QUESTION_HEAD, header])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def in_body(packed: bytes) -> bytes:
    """Return a QUESTION's header with this msgpack in its body, under the key "a"."""
    return b"\x82\xa2id\x05\xa4body\x81\xa1a" + packed


@pytest.mark.parametrize("code", [0xC6, 0xC9, 0xDB, 0xDD, 0xDF], ids=["bin", "ext", "str", "array", "map"])
@pytest.mark.parametrize("count", [2**32 - 1, 2**31, 10**7], ids=str)
def test_a_claim_of_length_allocates_nothing(code: int, count: int) -> None:
    """A header of a few bytes that claims four billion elements is refused without room being made for them."""
    claim = bytes([code]) + struct.pack(">I", count)
    assert refuse(claim) < 1 << 20
    assert refuse(in_body(claim)) < 1 << 20
    assert refuse(in_body(claim + b"\0" * 100)) < 1 << 20


def test_the_longest_array_and_map_inside_plain_data() -> None:
    """Arrays and maps of plain data end where the page says, though their header would hold more."""
    longest = Answer(id=1, body={"array": [1] * 4096, "map": {str(number): None for number in range(1024)}})
    assert decode(encode(longest)) == longest
    for body in ({"array": [1] * 4097}, {"map": {str(number): None for number in range(1025)}}):
        with pytest.raises(PeerError):
            decode(encode(Answer(id=1, body=body)))


def test_claims_inside_claims_are_bounded() -> None:
    """Arrays that each begin with another one of the longest length make room for each: 32 KiB, a thousand times."""
    assert refuse(in_body(b"\xdc\x10\x00" * 1100)) < MEMORY_BYTES_MAX


@pytest.mark.parametrize("one", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01"], ids=["array", "map", "array16"])
@pytest.mark.parametrize("depth", [NOTES_DEPTH_MAX, 500, 1023, 100_000])
def test_bombs_of_depth(one: bytes, depth: int) -> None:
    """Nesting beyond what is allowed is refused, not followed until the stack ends."""
    assert refuse(in_body(one * depth + b"\xc0")) < MEMORY_BYTES_MAX


def test_the_deepest_nesting_that_is_allowed() -> None:
    """Plain data are nested eight deep: the body itself is the first."""
    deep: Any = 1
    for _ in range(NOTES_DEPTH_MAX - 1):
        deep = [deep]
    question = Question(id=1, body={"a": deep})
    assert decode(encode(question)) == question
    with pytest.raises(PeerError):
        decode(encode(Question(id=1, body={"a": [deep]})))


@pytest.mark.parametrize("leaf", [b"\x80", b"\x90", b"\x81\xa0\xc0", b"\xa2ab"], ids=bytes.hex)
def test_small_values_in_great_number(leaf: bytes) -> None:
    """Millions of values of a byte or three each, at 60 to 200 bytes of memory, are refused before they are made."""
    row = b"\xdc\x10\x00" + leaf * 4096
    rows = (HEADER_BYTES_MAX - 100) // len(row)
    header = in_body(b"\xdc" + struct.pack(">H", rows) + row * rows)
    assert len(header) <= HEADER_BYTES_MAX
    assert refuse(header) < MEMORY_BYTES_MAX


def test_a_header_of_the_greatest_number_of_values() -> None:
    """The limit counts values, so a long header of few of them, and one of just so many, are read."""
    floats = [[0.5] * 4096 for _ in range(200)]
    answer = Answer(id=1, body={"a": floats})
    assert len(encode(answer)[1]) > HEADER_VALUES_MAX
    assert decode(encode(answer)) == answer
    exact = [[1] * 4095 for _ in range(256)]  # 256 * 4096 with the rows; the rest is in the outer maps
    with pytest.raises(PeerError):
        decode(encode(Answer(id=1, body={"a": exact, "b": [1] * 4096})))


def test_a_header_that_is_too_long_is_not_read() -> None:
    """A header beyond its limit is refused by its length."""
    with pytest.raises(PeerError, match=f"at most {HEADER_BYTES_MAX} bytes"):
        decode([QUESTION_HEAD, bytes(HEADER_BYTES_MAX + 1)])


@pytest.mark.parametrize("form", [b"\xc7\x00", b"\xc8\x00\x00", b"\xd4", b"\xd6", b"\xd7", b"\xc7\x0c"], ids=bytes.hex)
def test_extension_types_are_refused(form: bytes) -> None:
    """Extension types, timestamps among them, build no objects, not even under a key that is ignored."""
    lengths = {b"\xd4": 1, b"\xd6": 4, b"\xd7": 8, b"\xc7\x0c": 12}
    for code in range(-128, 128):
        packed = form + struct.pack("b", code) + b"\0" * lengths.get(form, 0)
        for header in (packed, in_body(packed), b"\x83\xa2id\x05\xa4body\x80\xa1z" + packed):
            with pytest.raises(PeerError):
                decode([QUESTION_HEAD, header])


@pytest.mark.parametrize("header", [
    b"", b"\x80" * 2, b"\xc0", b"\x90", b"\x05", b"\xc1", b"\xa4body",
    b"\x81\x01\x02", b"\x81\x90\x02", b"\x81\xc0\x02", b"\x81\x80\x02", b"\x82\xc4\x02id\x05\xc4\x04body\x80",
    b"\x82\xa2id\x05\xa4body\x81\x05\x05", b"\x82\xa2id\x05\xa4body\x81\xc4\x01a\x05",
    b"\x82\xa2id\x05\xa4body\x81\xa1a\xd9\x02\xff\xfe", b"\x82\xa2id\x05\xa4body\x81\xa3\xed\xa0\x80\xc0",
    b"\x82\xa2id\x05\xa4body\x80\x00",
], ids=bytes.hex)  # fmt: skip
def test_headers_that_are_none(header: bytes) -> None:
    """No map, no text for a key, text that is not UTF-8, bytes after the end: all refused."""
    with pytest.raises(PeerError):
        decode([QUESTION_HEAD, header])


def test_surrogates_do_not_come_in() -> None:
    """Text that no database and no JSON can hold is refused at the door, in a name as in notes."""
    jobs = SAMPLES[Jobs]
    for header in ({**header_of(jobs), "chain": "\udc80"}, {**header_of(jobs), "uris": ["\ud800", URIS[0]]}):
        with pytest.raises(PeerError):
            decode(frames_of(jobs, header, unicode_errors="surrogatepass"))
    with pytest.raises(PeerError):
        decode([QUESTION_HEAD, in_body(b"\xa1\xff")])


@pytest.mark.parametrize("number", [NAN, float("inf"), -float("inf"), 1 << 63, (1 << 64) - 1])
def test_numbers_that_cannot_be_kept(number: float) -> None:
    """NaN, infinity and whole numbers beyond 64 bits with a sign are refused wherever a number may stand."""
    results, beat, outcomes = SAMPLES[Results], SAMPLES[Beat], SAMPLES[Outcomes]
    cases: list[Any] = [
        replace(results, waits=[number, 1.0]),
        replace(results, waits=[1.0, number]),
        replace(results, notes=[{"a": [number]}, None]),
        replace(results, sizes=[number, 1]),
        replace(results, widths=[number, None]),
        replace(beat, seqs=[1, 2], progress=[0.0, number]),
        replace(outcomes, work_ms=number),
        replace(outcomes, reasons={"0": {"signal": number}}),
        replace(outcomes, attempts=[number] * 7),
        Question(id=1, body={"a": {"b": number}}),
    ]
    for message in cases:
        with pytest.raises(PeerError):
            decode(encode(message))


@pytest.mark.parametrize("low", [[NAN, -5.0], [-5.0, NAN], [0.5, NAN, 0.5], [2e15, NAN], [NAN, 2e15]])
def test_no_order_of_numbers_hides_one(low: list[float]) -> None:
    """NaN compares with nothing, and must not cover what stands beside it."""
    assert not checks.numbers()(low)


@pytest.mark.parametrize(
    ("column", "fits"),
    [
        ([9e14, 9e14, 0], True),
        ([1e15, 0.5], True),
        ([1.1e15], False),
        ([0.0, 1.1e15, 1.0], False),
        ([1e15, -1e-9], False),
        ([], True),
        ([True], False),
    ],
)
def test_each_number_of_a_column_is_bounded_and_not_their_sum(column: list[float], fits: bool) -> None:
    """The sum is a short cut: where it is too large, the numbers themselves decide."""
    assert checks.numbers()(column) is fits
    progress = [value / 1e15 for value in column if value >= 0]
    assert checks.numbers(-1.0, 1.0)([-1.0, *progress]) is (max(progress, default=0.0) <= 1)


def test_the_largest_messages_of_use_are_read() -> None:
    """A full batch with long paths and a full batch of acknowledgements are within every limit, and quick."""
    jobs = 1024
    message = Jobs(
        boot=bytes(8), ledger=LEDGER, lane=1, chain="null", ttr_ms=1, single=False, seqs=list(range(1, jobs + 1)),
        attempts=[1] * jobs, keys=bytes(16 * jobs), uris=["file:///" + "x" * 4096] * jobs, sizes=[1] * jobs,
        mtimes_ns=[1] * jobs, waits=[0] * jobs, images=(b"image",) * jobs,
    )  # fmt: skip
    assert decode(encode(message)) == message
    acks = Acks(ledger=LEDGER, seqs=[INT_MAX] * BATCH_JOBS_MAX)
    assert decode(encode(acks)) == acks
