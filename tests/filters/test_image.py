"""Decoding: every format, mode and orientation gives the same upright pixels, and what is no image says why."""

import io
import subprocess
import sys
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import (
    CORNERS,
    HEIGHT,
    WIDTH,
    as_stored,
    deep_png,
    every_grey,
    every_kind,
    exif,
    pillow,
    saved,
    scene,
)

from zgrid.errors import FilterError, SourceError
from zgrid.filters import Image
from zgrid.filters.orientation import stored_box

# Pillow warns of damage that it then refuses or passes over; what counts here is the outcome.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

KINDS = every_kind()
GREYS = every_grey()
TOLERANCE = 12
"""What JPEG and CMYK may change in the middle of a plain area."""


def centres(pixels):
    """Return the colours in the middle of the four quarters."""
    height, width = pixels.shape[:2]
    return [pixels[y, x].astype(int) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_every_kind_has_the_scene(kind, wrap):
    """The pixels are 8-bit BGR and have the scene's colours, from bytes and from shared memory alike."""
    image = Image("test:", wrap(KINDS[kind]))
    pixels, scale = image.pixels()
    assert (pixels.dtype, pixels.shape, scale) == (np.uint8, (HEIGHT, WIDTH, 3), 1.0)
    for found, wanted in zip(centres(pixels), CORNERS.values(), strict=True):
        assert np.abs(found - wanted).max() <= TOLERANCE, kind


@pytest.mark.parametrize("kind", GREYS)
def test_every_grey_has_the_scene(kind):
    """Grey images of 8, 16 and 32 bits become three equal channels of the right brightness."""
    pixels, _ = Image("test:", GREYS[kind]).pixels()
    wanted = cv2.cvtColor(scene(), cv2.COLOR_BGR2GRAY)
    if kind == "tiff grey float":  # has no fixed range: from its darkest to its brightest
        wanted = cv2.normalize(wanted, None, 0, 255, cv2.NORM_MINMAX)
    assert np.abs(pixels.astype(int) - wanted[:, :, None]).max() <= TOLERANCE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_upright(name, orientation):
    """However the file is stored, the pixels are upright, and the header tells the upright size."""
    data = saved(as_stored(pillow(scene()), orientation), name, exif=exif(orientation), quality=95)
    image = Image("test:", data)
    assert (image.header.width, image.header.height) == (WIDTH, HEIGHT)
    for found, wanted in zip(centres(image.pixels()[0]), CORNERS.values(), strict=True):
        assert np.abs(found - wanted).max() <= 2 * TOLERANCE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_found_again_where_it_is_stored(orientation):
    """A box painted into the upright picture is the box that stored_box names in the stored one."""
    upright = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    upright[10:30, 5:55] = 255
    stored = np.asarray(as_stored(PIL.Image.fromarray(upright), orientation))
    left, top, right, bottom = stored_box((5, 10, 55, 30), orientation, WIDTH, HEIGHT)
    assert (stored[top:bottom, left:right] == 255).all()
    assert stored.sum() == stored[top:bottom, left:right].sum()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("longest", [1000, 640, 300, 125, 64])
def test_reduced_decoding_keeps_what_is_where(longest, orientation):
    """Asked for a longest side, the pixels have just that, are upright, and the scale leads back to the original."""
    data = saved(as_stored(pillow(scene(1000, 600)), orientation), "JPEG", quality=95, exif=exif(orientation))
    pixels, scale = Image("test:", data).pixels(longest)
    assert pixels.shape[1] == longest
    assert pixels.shape[0] == round(600 * longest / 1000)
    assert scale == longest / 1000
    for found, wanted in zip(centres(pixels), CORNERS.values(), strict=True):
        assert np.abs(found - wanted).max() <= TOLERANCE


def test_small_images_are_not_enlarged():
    """A small image comes as it is."""
    pixels, scale = Image("test:", KINDS["jpeg"]).pixels(640)
    assert (pixels.shape, scale) == ((HEIGHT, WIDTH, 3), 1.0)


def test_an_image_one_pixel_high_can_be_reduced():
    """The short side never becomes nothing."""
    pixels, _ = Image("test:", saved(pillow(scene(3000, 2)), "PNG")).pixels(640)
    assert pixels.shape == (1, 640, 3)


def test_transparent_parts_are_white():
    """What can be seen through is shown on white, half of it half."""
    clear = pillow(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).convert("RGBA")
    clear.putalpha(PIL.Image.fromarray(np.repeat(np.arange(WIDTH, dtype=np.uint8)[None], HEIGHT, 0)))
    for name in ("PNG", "TIFF"):
        pixels, _ = Image("test:", saved(clear, name)).pixels()
        assert np.abs(pixels[0, :, 0].astype(int) - (255 - np.arange(WIDTH))).max() <= 1, name


@pytest.mark.parametrize(
    ("kind", "format_", "depth", "frames"),
    [
        ("jpeg", "JPEG", 8, 1),
        ("png 16 bit", "PNG", 16, 1),
        ("gif of two", "GIF", 8, 2),
        ("webp alpha", "WEBP", 8, 1),
        ("tiff cmyk", "TIFF", 8, 1),
        ("bmp", "BMP", 8, 1),
    ],
)
def test_header(kind, format_, depth, frames):
    """The header tells format, size, depth and number of pictures."""
    header = Image("test:", KINDS[kind]).header
    assert (header.format, header.width, header.height, header.orientation) == (format_, WIDTH, HEIGHT, 1)
    assert (header.depth, header.frames) == (depth, frames)


def test_a_multi_picture_jpeg_is_a_jpeg():
    """The first picture of a stereo camera's or phone's file is the photograph."""
    first, second = pillow(scene()), pillow(255 - scene())
    image = Image("test:", saved(first, "MPO", save_all=True, append_images=[second], quality=95))
    assert (image.header.format, image.header.frames) == ("JPEG", 1)
    assert np.abs(centres(image.pixels()[0])[0] - CORNERS["red"]).max() <= TOLERANCE


@pytest.mark.parametrize("kind", sorted({*KINDS, *GREYS} - {"gif of two"}))  # of two pictures, the first may be whole
@pytest.mark.parametrize("left", [0.5, 0.9])
def test_what_is_cut_short_is_refused(kind, left):
    """Half a picture is never taken for a picture, whatever the decoder would make of it."""
    data = (KINDS | GREYS)[kind]
    with pytest.raises(FilterError, match=r"cut short|damaged"):
        Image("test:", data[: int(len(data) * left)]).pixels()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_photograph_cut_short_is_refused(progressive):
    """Reduced decoding, which needs less of the file, does not take half of it either."""
    noise = np.random.default_rng(1).integers(0, 255, (600, 800, 3), np.uint8)
    data = saved(pillow(noise), "JPEG", progressive=progressive)
    assert Image("test:", data).pixels(200)[0].shape == (150, 200, 3)
    with pytest.raises(FilterError, match="cut short"):
        Image("test:", data[: len(data) * 3 // 4]).pixels(200)


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_a_file_that_ends_in_zeros_is_refused(name):
    """An interrupted copy may have its full length; a thumbnail's end mark within the EXIF block is no end either."""
    noise = np.random.default_rng(1).integers(0, 255, (300, 400, 3), np.uint8)
    tags = exif(1).tobytes() + saved(pillow(scene()), "JPEG")
    data = saved(pillow(noise), name, restart_marker_blocks=4, exif=tags)
    assert Image("test:", data).pixels()[0].shape == noise.shape
    with pytest.raises(FilterError, match="cut short"):
        Image("test:", data[:-100] + b"\0" * 100).pixels()


@pytest.mark.parametrize("behind", [b"\0" * 5000, b"notes" * 1000])
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_what_follows_a_whole_picture_is_no_matter(kind, behind):
    """A film or notes behind the picture, as phones and editors write them, do not make it cut short."""
    assert Image("test:", KINDS[kind] + behind).pixels()[0].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"only text", "^not an image$"),
        (b"\0" * 100, "^not an image$"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 50, "HEIC is not supported: convert it to JPEG"),
        (b"%PDF-1.7\n", "PDF is not supported"),
        (b"\xff\xd8\xff\xe0", "begins like a JPEG"),
        (b"\x89PNG\r\n\x1a\n", "begins like a PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "^not an image$"),
        (saved(pillow(scene()), "ICO"), "^not an image$"),
    ],
)
def test_what_is_no_image_says_so(data, why):
    """The reason names what it is and what to do, for people who find it buried."""
    for ask in (lambda image: image.header, lambda image: image.pixels(640), lambda image: image.stored()):
        with pytest.raises(FilterError, match=why):
            ask(Image("test:", data))


def test_a_bomb_is_refused_before_it_is_decoded():
    """A small file that claims a huge picture costs nothing: the header is looked at first."""
    small = saved(pillow(scene()), "PNG")
    for side in (20_000, 60_000, 2**31 - 1):
        claim = side.to_bytes(4, "big") * 2
        chunk = b"IHDR" + claim + small[24:29]
        bomb = small[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + small[33:]
        with pytest.raises(FilterError, match="megapixels allowed"):
            Image("test:", bomb).pixels(640)


def test_a_webp_bomb_is_refused_before_pillow_allocates_its_canvas():
    """Pillow's decoder allocates two canvases when it opens an extended WebP; its size is checked before."""
    clear = pillow(scene()).convert("RGBA")
    clear.putalpha(100)
    data = bytearray(saved(clear, "WEBP"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_000).to_bytes(3, "little") * 2
    with pytest.raises(FilterError, match="16001 x 16001 pixels"):
        _ = Image("test:", bytes(data)).header


def test_the_limit_is_a_setting():
    """pixels_max is what counts, to the pixel."""
    assert Image("test:", KINDS["jpeg"], pixels_max=WIDTH * HEIGHT).header.width == WIDTH
    with pytest.raises(FilterError, match="96 x 64 pixels"):
        _ = Image("test:", KINDS["jpeg"], pixels_max=WIDTH * HEIGHT - 1).header


def test_a_lazy_image_is_read_once_and_late():
    """By reference, nothing is read before somebody asks; then once."""
    reads = []
    image = Image.lazy("file:///a.jpg", lambda: reads.append(1) or KINDS["jpeg"])
    assert (reads, image.touched) == ([], False)
    assert image.size == len(KINDS["jpeg"])
    assert image.digest() == Image("test:", KINDS["jpeg"]).digest()
    assert not image.touched
    assert image.header.format == "JPEG"
    assert image.touched
    assert reads == [1]


def test_a_reader_may_fail():
    """What the reader raises is told as it is: the source failed, not the image."""

    def away():
        raise SourceError("the share is away", transient=True)

    with pytest.raises(SourceError, match="share is away"):
        Image.lazy("file:///a.jpg", away).pixels()


def test_a_broken_exif_block_does_not_cost_the_picture():
    """An EXIF block of rubbish, or an orientation that does not exist, means upright."""
    for block in (b"Exif\0\0rubbish", b"Exif\0\0MM\0*\xff\xff\xff\xff", exif(9).tobytes()):
        image = Image("test:", saved(pillow(scene()), "JPEG", quality=95, exif=block))
        assert image.header.orientation == 1
        assert np.abs(centres(image.pixels()[0])[0] - CORNERS["red"]).max() <= TOLERANCE


@given(
    kind=st.sampled_from(["jpeg", "jpeg progressive", "png", "webp", "gif", "tiff", "bmp"]),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=12),
    keep=st.floats(0.2, 1.0),
)
@settings(max_examples=300, deadline=None)
def test_damage_is_a_filter_error_or_a_picture(kind, changes, keep):
    """Whatever is done to a file's bytes, it is a picture of the size that its header tells, or a FilterError."""
    data = bytearray(KINDS[kind][: max(1, int(len(KINDS[kind]) * keep))])
    for where, value in changes:
        data[int(where * len(data))] = value
    image = Image("test:", bytes(data), pixels_max=1_000_000)
    try:
        pixels, _ = image.pixels(50)
    except FilterError:
        return
    assert max(pixels.shape[:2]) <= 50


def test_sixteen_bits_are_kept_where_they_are_stored():
    """stored() has the file's own depth and alpha, pixels() eight bits without."""
    image = Image("test:", deep_png(4))
    assert (image.stored().dtype, image.stored().shape) == (np.uint16, (HEIGHT, WIDTH, 4))
    assert image.pixels()[0].shape == (HEIGHT, WIDTH, 3)


def test_one_thread_decodes_avif():
    """In a process that is to have one thread, also the decoder of AVIF starts none."""
    code = (
        "import io, sys, PIL.Image\n"
        "from zgrid.filters.threads import use_one_thread\n"
        "use_one_thread()\n"
        "from PIL import AvifImagePlugin, _avif\n"
        "made = _avif.AvifDecoder\n"
        "def decoder(*arguments):\n"
        "    print(arguments[-1])\n"
        "    return made(*arguments)\n"
        "_avif.AvifDecoder = decoder\n"
        "PIL.Image.open(io.BytesIO(sys.stdin.buffer.read())).load()\n"
    )
    avif = saved(PIL.Image.fromarray(scene()), "AVIF")
    done = subprocess.run([sys.executable, "-c", code], input=avif, capture_output=True, check=True)
    assert done.stdout.split() == [b"1"]


def test_pillow_is_left_as_it_was_but_for_its_limit():
    """Opening images registers no decoder that the list of formats does not need."""
    assert PIL.Image.MAX_IMAGE_PIXELS == 200_000_000
    assert PIL.Image.open(io.BytesIO(KINDS["png"])).format == "PNG"
