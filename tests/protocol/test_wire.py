"""Messages to frames and back: what is allowed survives, everything else is a PeerError and nothing but that."""

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_cases import LEDGER, VECTORS, any_message, any_of

from zgrid.errors import PeerError
from zgrid.protocol.limits import BATCH_JOBS_MAX, FRAMES_MAX
from zgrid.protocol.messages import (
    CHECKS,
    KINDS,
    VERSION,
    Acks,
    Ask,
    Beat,
    Code,
    Hello,
    Holds,
    Jobs,
    Message,
    Outcomes,
    Refuse,
    Results,
    Welcome,
)
from zgrid.protocol.wire import UnknownMessageError, decode, encode

SAMPLES: dict[type[Message], Message] = {}
"""One message of each kind, with something in every column."""
for _message in VECTORS.values():
    SAMPLES.setdefault(type(_message), _message)
SAMPLES[Beat] = VECTORS["05-beat-alive"]
SAMPLES[Hello] = VECTORS["01-hello-reads"]


def name_of(value: Any) -> str:
    """Name a test's parameter: a kind or one of its fields."""
    return value if type(value) is str else value.__name__


FIELDS = [(kind, name) for kind in KINDS.values() for name, _, _ in CHECKS[kind]]
LISTS = [(kind, name) for kind, name in FIELDS if type(getattr(SAMPLES[kind], name)) is list]
PARALLEL = [
    (kind, name)
    for kind, name in [*LISTS, (Jobs, "keys"), (Results, "keys"), (Ask, "keys"), (Outcomes, "codes")]
    if kind not in (Hello, Welcome, Acks, Holds) and (kind, name) != (Beat, "alive")
]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=name_of)
EVERY_FIELD = pytest.mark.parametrize(("kind", "name"), FIELDS, ids=name_of)


def header_of(message: Message) -> dict[str, Any]:
    """Return a message's header as a peer would pack it."""
    return {name: getattr(message, name) for name, _, _ in CHECKS[type(message)]}


def frames_of(message: Message, header: Any, **options: Any) -> list[Any]:
    """Return the frames of ``message`` with another header."""
    return [encode(message)[0], msgpack.packb(header, **options), *message.images]


@EVERY_KIND
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_sent_is_what_arrives(kind: type[Message], data: st.DataObject) -> None:
    """Any allowed message of every kind is read back equal, from bytes and from views of bytes."""
    message = data.draw(any_of(kind))
    frames = encode(message)
    assert decode(frames) == message
    assert decode([memoryview(frame) for frame in frames]) == message


def test_images_are_handed_through_and_not_copied() -> None:
    """The encoder returns the very image objects it was given, and the decoder too."""
    images = (bytes(100), memoryview(bytearray(7)))
    message = replace(SAMPLES[Jobs], images=images)
    assert all(one is other for one, other in zip(encode(message)[2:], images, strict=True))
    assert all(one is other for one, other in zip(decode(encode(message)).images, images, strict=True))


@EVERY_FIELD
def test_a_value_of_a_wrong_type_is_refused(kind: type[Message], name: str) -> None:
    """Every field of every kind refuses every type but its own."""
    message = SAMPLES[kind]
    right = type(getattr(message, name))
    allowed = {int, float} if name == "work_ms" else {right}
    for wrong in (None, True, 7, 0.5, "x", b"x", [], {}, [[]], -(1 << 63), (1 << 64) - 1):
        if type(wrong) not in allowed:
            with pytest.raises(PeerError):
                decode(frames_of(message, {**header_of(message), name: wrong}))


@pytest.mark.parametrize(("kind", "name"), LISTS, ids=name_of)
def test_a_wrong_type_in_a_column_is_refused(kind: type[Message], name: str) -> None:
    """Every entry of a column is of the column's type: one of another among them is found, and so are too many."""
    message = SAMPLES[kind]
    right = getattr(message, name)
    allowed = {type(item) for item in right} | ({int} if float in map(type, right) else set())
    for wrong in (None, True, 7, 0.5, "x", b"x", [], {}):
        if type(wrong) not in allowed:
            with pytest.raises(PeerError):
                decode(frames_of(message, {**header_of(message), name: [*right[:-1], wrong]}))
    with pytest.raises(PeerError):
        decode(frames_of(message, {**header_of(message), name: right * BATCH_JOBS_MAX * 2}))


@EVERY_FIELD
def test_a_missing_field_is_refused_or_has_its_default(kind: type[Message], name: str) -> None:
    """A field without a default must be there; one with a default may be left out, if the rest still agrees."""
    message = SAMPLES[kind]
    header = header_of(message)
    del header[name]
    needed = next(needed for other, _, needed in CHECKS[kind] if other == name)
    if needed:
        with pytest.raises(PeerError, match=f"{name} is missing"):
            decode(frames_of(message, header))
    elif name not in ("seqs", "progress"):
        assert decode(frames_of(message, header)) == kind(**{**header, "images": message.images})


@EVERY_KIND
def test_unknown_keys_are_ignored(kind: type[Message]) -> None:
    """A newer peer may say more than this release understands."""
    message = SAMPLES[kind]
    more = {**header_of(message), "from_the_future": [{"a": [1.5]}], "images": [b"not these"], "KIND": 99}
    assert decode(frames_of(message, more)) == message


@EVERY_KIND
def test_images_come_only_where_they_belong(kind: type[Message]) -> None:
    """A kind without images refuses image frames: they would be held for nothing."""
    message = SAMPLES[kind]
    with pytest.raises(PeerError):
        decode([*encode(message), *[b"image"] * (len(message.images) + 1)])
    if message.images:
        with pytest.raises(PeerError):
            decode(encode(message)[:-1])


@given(version=st.integers(0, 255), number=st.integers(0, 255))
def test_unknown_versions_and_kinds(version: int, number: int) -> None:
    """A version or kind that is not ours is told apart from rubbish, whatever the header is."""
    if version == VERSION and number in KINDS:
        return
    with pytest.raises(UnknownMessageError, match="unknown"):
        decode([b"ZG" + bytes((version, number)), b"\xc1 this is no msgpack"])


@pytest.mark.parametrize("head", [b"", b"ZG", b"ZG\1", b"GZ\1\4", b"ZG\1\4\0", b"zg\1\4", b"ZG\1\4" * 1000])
def test_a_head_that_is_none(head: bytes) -> None:
    """A first frame of another form is no zgrid message at all."""
    with pytest.raises(PeerError, match="not that of a zgrid message") as caught:
        decode([head, b"\x80"])
    assert type(caught.value) is PeerError


@pytest.mark.parametrize("count", [0, 1, FRAMES_MAX + 1, 100_000])
def test_a_wrong_number_of_frames(count: int) -> None:
    """A message has a head and a header, and no more images than jobs in a batch."""
    with pytest.raises(PeerError, match="frames"):
        decode([*encode(SAMPLES[Acks])[:count], *[b""] * (count - 2)])


def test_a_full_batch_fits_and_one_job_more_does_not() -> None:
    """A column has at most BATCH_JOBS_MAX entries."""
    acks = Acks(ledger=LEDGER, seqs=list(range(1, BATCH_JOBS_MAX + 1)))
    assert decode(encode(acks)) == acks
    with pytest.raises(PeerError, match=r"Acks\.seqs"):
        decode(encode(replace(acks, seqs=[*acks.seqs, 1])))


@pytest.mark.parametrize(("kind", "name"), PARALLEL, ids=name_of)
def test_columns_of_unequal_length_are_refused(kind: type[Message], name: str) -> None:
    """Every column of a message is as long as the others; one entry less would move what belongs to the next job."""
    message = SAMPLES[kind]
    with pytest.raises(PeerError):
        decode(frames_of(message, {**header_of(message), name: getattr(message, name)[:-1]}))


@pytest.mark.parametrize("kind", [Jobs, Results])
def test_work_without_jobs_is_refused(kind: type[Message]) -> None:
    """JOBS and RESULTS carry at least one job: nothing at all would keep a child or a store busy."""
    message = SAMPLES[kind]
    empty = {
        name: value[:0] if type(value) is list or name == "keys" else value
        for name, value in header_of(message).items()
    }
    with pytest.raises(PeerError, match="no jobs"):
        decode(frames_of(replace(message, images=()), empty))


@pytest.mark.parametrize("pictures", [[0, 0], [1, -1], [-1, -1], [0, 1], [-1, 1]])
def test_pictures_and_frames_pair_off(pictures: list[int]) -> None:
    """Each frame is the picture of exactly one job."""
    message = SAMPLES[Results]
    with pytest.raises(PeerError, match="pictures"):
        decode(frames_of(message, {**header_of(message), "pictures": pictures}))


def test_an_unknown_code_is_refused() -> None:
    """A code that nobody knows could mean anything."""
    message = SAMPLES[Outcomes]
    with pytest.raises(PeerError, match="code 7 is unknown"):
        decode(frames_of(message, {**header_of(message), "codes": bytes([max(Code) + 1]) * 7}))


def test_text_that_is_not_unicode_is_sent_with_question_marks() -> None:
    """A file name of stray bytes in a reason costs its stray bytes, not the message."""
    assert decode(encode(Refuse(reason="no \udcff.jpg"))) == Refuse(reason="no ?.jpg")


@settings(max_examples=300, deadline=None)
@given(frames=st.lists(st.binary(max_size=60) | st.sampled_from([encode(m)[0] for m in VECTORS.values()]), max_size=5))
@example([])
def test_garbage_is_a_peer_error_and_nothing_else(frames: list[bytes]) -> None:
    """Whatever bytes come in, the decoder returns a message or raises PeerError."""
    survives(frames)


@settings(max_examples=400, deadline=None)
@given(message=any_message, data=st.data())
def test_flipped_bits_are_a_peer_error_or_another_message(message: Message, data: st.DataObject) -> None:
    """A message of which some bits were flipped or some bytes cut never raises anything but PeerError."""
    frames = [bytearray(frame) for frame in encode(message)]
    for _ in range(data.draw(st.integers(1, 4))):
        frame = data.draw(st.sampled_from([frame for frame in frames[:2] if frame]))
        at = data.draw(st.integers(0, len(frame) - 1))
        if data.draw(st.booleans()):
            frame[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del frame[at]
            if not frame:
                break
    survives([bytes(frame) for frame in frames])


@pytest.mark.parametrize("name", VECTORS)
def test_every_single_flipped_bit(name: str) -> None:
    """Each bit of each kept message, flipped alone, and each length to which it can be cut."""
    frames = encode(VECTORS[name])
    for number in (0, 1):
        whole = bytes(frames[number])
        for at in range(len(whole)):
            survives([*frames[:number], whole[:at], *frames[number + 1 :]])
            for bit in range(8):
                flipped = bytearray(whole)
                flipped[at] ^= 1 << bit
                survives([*frames[:number], bytes(flipped), *frames[number + 1 :]])


def survives(frames: list[Any]) -> None:
    """Decode; what is accepted can be encoded again and means the same."""
    try:
        message = decode(frames)
    except PeerError:
        return
    assert decode(encode(message)) == message
