"""Hundreds of bad files: each fails with a reason, at once, in little memory, and whatever it is called."""

import resource
import time

import pytest
from bad_files import is_passed_over, makers, whole
from bad_jpegs import many_scans, segment, sequential_scans
from bad_pngs import pngs
from good_files import good
from odd_files import odd_files

from zgrid.errors import FilterError
from zgrid.filters import Image
from zgrid.filters.decode import check_whole
from zgrid.filters.frames import FRAMES_MAX, count_frames
from zgrid.filters.header import DECODED_BYTES_MAX, read_header

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SECONDS_MAX = 20
"""For one file, on a slow machine that has much else to do; they take milliseconds."""
MORE_BYTES_MAX = 300 << 20
"""By which the memory of this process may rise for one file."""


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.parametrize(("name", "make"), makers(), ids=[name for name, _ in makers()])
def test_it_fails_with_a_reason(name, make):
    """One sentence for people, and neither much time nor much memory; also where its name says something else."""
    data = whole(make)
    before, began = peak_bytes(), time.monotonic()
    with pytest.raises(FilterError) as caught:
        Image(f"file:///{name}", data).pixels(640)
    assert time.monotonic() - began < SECONDS_MAX
    assert peak_bytes() - before < MORE_BYTES_MAX
    reason = str(caught.value)
    assert 10 < len(reason) < 300
    assert "Traceback" not in reason
    with pytest.raises(FilterError):
        Image(f"file:///{name}", memoryview(data)).stored()


def test_there_are_enough_of_them():
    """At least 200, most of which look like images until somebody reads them; all together are small."""
    files = {name: whole(make) for name, make in makers()}
    assert len(files) >= 200
    assert sum(not is_passed_over(data) for data in files.values()) >= 200
    assert sum(map(len, files.values())) < 16 << 20


@pytest.mark.parametrize(("name", "data"), odd_files().items(), ids=list(odd_files()))
def test_what_is_only_odd_is_looked_at(name, data):
    """One pixel, long strips, every depth and colour, moving pictures, nonsense beside the picture."""
    image = Image(f"file:///{name}", data)
    pixels, _ = image.pixels(640)
    assert pixels.ndim == 3
    assert max(pixels.shape) <= max(640, image.header.width, image.header.height)
    assert image.stored().shape[0] == image.header.stored_size[1]


@pytest.mark.parametrize(
    "data",
    [
        many_scans(64, 64, 201),
        many_scans(64, 64, 201, before=b"x"),
        many_scans(64, 64, 201, before=b"\xff\xff\x01\xff\xd0"),
        many_scans(64, 64, 201, within=segment(0xFE, b"\xff\xd9")),
        many_scans(64, 64, 201, within=b"\xff\x02\xff\xff"),
        sequential_scans(201),
    ],
)
def test_scans_are_counted_as_decoders_find_them(data):
    """Neither junk, nor a comment with an end mark in it, nor scans of single components hide them."""
    with pytest.raises(FilterError, match="more than 200 scans"):
        check_whole(memoryview(data), "JPEG")


def test_no_more_than_its_scans_are_counted():
    """What stands in a segment is no mark, nor is what follows the end; 200 scans are not too many."""
    marks = b"\xff\xda\0\2" * 300
    check_whole(many_scans(64, 64, 198, within=segment(0xFE, marks)) + marks, "JPEG")
    check_whole(good("JPEG") + marks, "JPEG")


def test_what_would_take_too_much_room_is_refused():
    """Pixels within the limit may still be too many bytes: 16 bits in four channels take eight bytes each."""
    with pytest.raises(FilterError, match="MiB decoded, more than the 1024 allowed"):
        read_header(pngs()["14000-squared-16-bit-no-data.png"])
    assert DECODED_BYTES_MAX < 14000 * 14000 * 8


def test_frames_are_counted_without_decoding():
    """As Pillow counts them, one by one, and never on and on."""
    assert [read_header(odd_files()[name]).frames for name in ("moving.gif", "pages.tif", "moving.webp")] == [
        31,
        21,
        11,
    ]
    for name in ("frames-in-crowds.gif", "directories-in-crowds.tif"):
        assert count_frames(whole(dict(makers())[name]), "GIF" if name.endswith("gif") else "TIFF", 1) == FRAMES_MAX + 1
    assert count_frames(b"GIF89a", "GIF", 1) == 1
    assert count_frames(b"II*\0", "TIFF", 1) == 1
    assert count_frames(b"MM\0*\0\0\0\x08\0\0\0\0\0\x08", "TIFF", 1) == 1  # a directory that is its own successor
