"""The filter highlight: the line is where it should be, and everything else of the file stays what it was."""

import struct
import subprocess
import sys

import cv2
import numpy as np
import PIL.Image
import pytest
from pictures import HEIGHT, WIDTH, as_stored, deep_png, every_kind, exif, pillow, profile, reopened, saved, scene
from wand.color import Color
from wand.drawing import Drawing
from wand.image import Image as MagickImage

from zgrid.filters import Chain, Fail, Image, Keep, parse_steps

COLOUR = (255, 0, 255)
"""Magenta, which the scene does not have."""


def highlighted(data, boxes, options="colour=magenta,width_px=2"):
    """Return the outcome of drawing round boxes."""
    image = Image("test:", data)
    image.notes["faces"] = [{"box": list(box), "score": 0.9, "landmarks": None} for box in boxes]
    return Chain(parse_steps([f"highlight:{options}"])).run(image)


def drawn(data, boxes, options="colour=magenta,width_px=2"):
    """Return the picture with the boxes as upright BGR pixels."""
    return Image("test:", highlighted(data, boxes, options).picture).pixels()[0]


def expected(pixels, boxes, line):
    """Return the pixels with each box's line outside it, painted without ImageMagick."""
    painted = pixels.copy()
    height, width = pixels.shape[:2]
    for x, y, w, h in boxes:
        left, top = max(0, round(x) - line), max(0, round(y) - line)
        right, bottom = max(0, min(width, round(x + w) + line)), max(0, min(height, round(y + h) + line))
        ring = np.zeros((height, width), bool)
        ring[top:bottom, left:right] = True
        ring[top + line : bottom - line, left + line : right - line] = False
        painted[ring] = COLOUR
    return painted


BOXES = {
    "one": [(20, 20, 30, 25)],
    "overlapping": [(20, 20, 60, 50), (40, 30, 80, 90), (10, 50, 200, 20), (45, 35, 5, 5)],
    "large and overlapping": [(50, 40, 400, 300), (200, 100, 350, 350), (300, 10, 10, 480), (55, 45, 390, 290)],
    "at the edges": [(-20, -20, 60, 60), (560, 440, 200, 200), (0, 200, 640, 30)],
    "fractions": [(20.4, 20.6, 30.2, 25.3)],
    "outside": [(700, 10, 20, 20), (-50, 10, 20, 20)],
}


@pytest.mark.parametrize("line", [1, 2, 5])
@pytest.mark.parametrize("which", BOXES)
def test_the_line_is_exact(which, line):
    """Drawn part by part, the picture is to the pixel what it should be, also where boxes overlap."""
    pixels = scene(640, 480)
    got = drawn(saved(pillow(pixels), "PNG"), BOXES[which], f"colour=magenta,width_px={line}")
    assert (got == expected(pixels, BOXES[which], line)).all()


def test_parts_are_the_same_as_the_whole():
    """The bars that ImageMagick makes are the rectangles that it would draw on the whole picture."""
    pixels = np.random.default_rng(3).integers(0, 200, (480, 640, 3), np.uint8)
    boxes = [(30, 30, 100, 100), (90, 80, 400, 350)]
    with (
        MagickImage(blob=pixels.tobytes(), format="bgr", width=640, height=480, depth=8) as whole,
        Drawing() as drawing,
        Color("magenta") as colour,
    ):
        drawing.fill_color = colour
        for x, y, w, h in boxes:
            for left, top, right, bottom in (
                (x - 4, y - 4, x + w + 3, y - 1),
                (x - 4, y + h, x + w + 3, y + h + 3),
                (x - 4, y, x - 1, y + h - 1),
                (x + w, y, x + w + 3, y + h - 1),
            ):
                drawing.rectangle(left=left, top=top, right=right, bottom=bottom)
        drawing(whole)
        wanted = np.frombuffer(whole.make_blob("bgr"), np.uint8).reshape(pixels.shape)
    assert (drawn(saved(pillow(pixels), "PNG"), boxes, "colour=magenta,width_px=4") == wanted).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_orientation_exif_and_profile_stay(name, orientation):
    """The picture is stored and described as the original was, and the line is where the upright face is."""
    data = saved(
        as_stored(pillow(scene()), orientation), name, exif=exif(orientation), icc_profile=profile(), quality=95
    )
    box = (10, 8, 60, 20)
    outcome = highlighted(data, [box])
    stored, original = reopened(outcome.picture), reopened(data)
    assert outcome.media == PIL.Image.MIME[name]
    assert (stored.format, stored.size) == (name, original.size)
    assert stored.info["icc_profile"] == profile()
    assert dict(stored.getexif()) == {0x0112: orientation, 0x010F: "zgrid"}
    upright, _ = Image("test:", outcome.picture).pixels()
    difference = np.abs(upright.astype(int) - expected(scene(), [box], 2))
    assert np.median(difference) <= 4
    for y, x in ((7, 40), (29, 40), (18, 9), (18, 71)):
        assert difference[y, x].max() < 120, "the line is not at the face"
        assert np.abs(upright[y, x].astype(int) - COLOUR).sum() < np.abs(scene()[y, x].astype(int) - COLOUR).sum()


def test_alpha_and_sixteen_bits_stay():
    """A PNG of 16 bits with alpha stays one: outside the line, not one bit is another."""
    pixels = cv2.imdecode(np.frombuffer(deep_png(4), np.uint8), cv2.IMREAD_UNCHANGED).copy()
    pixels[:, :, :3] += np.arange(WIDTH, dtype=np.uint16)[None, :, None]
    pixels[:, :, 3] = 40_000
    data = cv2.imencode(".png", pixels)[1].tobytes()
    outcome = highlighted(data, [(20, 20, 30, 20)])
    got = cv2.imdecode(np.frombuffer(outcome.picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (got.dtype, got.shape) == (np.uint16, (HEIGHT, WIDTH, 4))
    line = (expected(scene(), [(20, 20, 30, 20)], 2) != scene()).any(axis=2)
    assert (got[~line] == pixels[~line]).all()
    assert (got[line] == (65535, 0, 65535, 65535)).all()


def test_webp_keeps_its_alpha():
    """What can be seen through in a WebP still can be, with profile and EXIF beside it."""
    clear = pillow(scene()).convert("RGBA")
    clear.putalpha(128)
    for extras in ({}, {"exif": exif(6), "icc_profile": profile()}):
        data = saved(clear, "WEBP", quality=95, **extras)
        got = reopened(highlighted(data, [(10, 10, 20, 20)]).picture)
        assert (got.format, got.mode) == ("WEBP", "RGBA")
        assert got.getpixel((WIDTH - 2, HEIGHT - 2))[3] == 128


@pytest.mark.parametrize("kind", every_kind())
def test_every_kind_can_be_highlighted(kind):
    """JPEG, PNG and WebP stay what they are; other formats become JPEG."""
    data = every_kind()[kind]
    outcome = highlighted(data, [(20, 20, 30, 20)])
    format_ = Image("test:", data).header.format
    assert Image("test:", outcome.picture).header.format == (format_ if format_ in ("JPEG", "PNG", "WEBP") else "JPEG")
    assert Image("test:", outcome.picture).pixels()[0].shape == (HEIGHT, WIDTH, 3)


def test_a_turned_tiff_becomes_an_upright_jpeg():
    """A format that is not kept is turned upright, since its EXIF block does not come along."""
    data = saved(as_stored(pillow(scene()), 6), "TIFF", exif=exif(6))
    picture = Image("test:", highlighted(data, [(20, 20, 30, 20)]).picture)
    assert (picture.header.format, picture.header.orientation, picture.header.width) == ("JPEG", 1, WIDTH)


def test_profiles_of_other_colours_are_left_out():
    """A grey or CMYK image becomes colour, so its profile would be wrong; a long one of colour comes along whole."""
    grey = profile()[:16] + b"GRAY" + profile()[20:]
    data = saved(pillow(scene()).convert("L"), "JPEG", icc_profile=grey)
    assert "icc_profile" not in reopened(highlighted(data, [(20, 20, 30, 20)]).picture).info
    long = profile() + np.random.default_rng(0).bytes(150_000)
    data = saved(pillow(scene()), "JPEG", icc_profile=long)
    assert reopened(highlighted(data, [(20, 20, 30, 20)]).picture).info["icc_profile"] == long


def test_an_exif_block_too_long_for_jpeg_leaves_the_orientation():
    """Whatever else is lost, the picture does not lie on its side. A PNG has room for all of it."""
    tags = exif(6)
    tags[0x010E] = "x" * 70_000
    stored, block = as_stored(pillow(scene()), 6), tags.tobytes().removeprefix(b"Exif\0\0")
    png = highlighted(saved(stored, "PNG", exif=tags), BOXES["one"]).picture
    assert reopened(png).getexif()[0x010E] == "x" * 70_000
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in (block[:60_000], block[60_000:])
    )
    jpeg = saved(stored, "JPEG")
    image = Image("test:", jpeg[:2] + segments + jpeg[2:])
    assert (len(image.header.exif), image.header.orientation) == (len(block), 6)
    assert dict(reopened(highlighted(image.data, BOXES["one"]).picture).getexif()) == {0x0112: 6}


def test_the_line_fits_the_image():
    """Without a width, the line grows with the picture and stays visible on a small one."""
    for side, line in ((300, 2), (1500, 5)):
        pixels = scene(side, side)
        box = (side // 4, side // 4, side // 2, side // 2)
        got = drawn(saved(pillow(pixels), "PNG"), [box], "colour=magenta")
        assert (got == expected(pixels, [box], line)).all()


def test_quality_is_the_files():
    """A lower quality makes a smaller file; without one, a JPEG stays as large as it is."""
    data = saved(pillow(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)), "JPEG")
    sizes = [len(highlighted(data, [(20, 20, 30, 20)], f"quality={q}").picture) for q in (30, 90, 0)]
    assert sizes[0] < sizes[1] / 2
    assert abs(sizes[2] - len(data)) < len(data) / 10


def test_without_faces():
    """An empty list is nothing to draw; no list at all is a chain in the wrong order; odd notes are refused."""
    data = saved(pillow(scene()), "JPEG")
    outcome = highlighted(data, [])
    assert (type(outcome), outcome.picture) == (Keep, None)
    alone = Chain(parse_steps(["highlight"]))
    assert "put faces before it" in alone.run(Image("test:", data)).reason
    for odd in ([{}], [1], [{"box": [1, 2, 3]}], [{"box": [1, 2, 3, float("nan")]}], [{"box": "1234"}]):
        image = Image("test:", data)
        image.notes["faces"] = odd
        assert isinstance(alone.run(image), Fail)


def test_the_default_chain(with_yunet, photograph):
    """Found and highlighted: the picture differs round the face and hardly elsewhere."""
    outcome = Chain(parse_steps(["faces", "highlight:colour=magenta"])).run(Image("test:", photograph))
    (face,) = outcome.notes["faces"]
    before, after = Image("test:", photograph).pixels()[0], Image("test:", outcome.picture).pixels()[0]
    changed = np.abs(before.astype(int) - after).max(axis=2) > 90
    x, y, w, h = (round(v) for v in face["box"])
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 100
    assert (x - 4 <= columns.min(), columns.max() <= x + w + 4) == (True, True)
    assert (y - 4 <= rows.min(), rows.max() <= y + h + 4) == (True, True)


def test_without_magickwand_the_others_work():
    """Without the library, highlight is missing with the packages' names, and its options are still checked."""
    code = (
        "import sys; sys.modules['wand.color'] = None\n"
        "from zgrid.filters import available, missing, parse_steps\n"
        "print(*available(), parse_steps(['highlight:quality=80'])[0]); print(missing()['highlight'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, why = done.stdout.splitlines()
    assert first == "faces null highlight:quality=80"
    assert "libmagickwand-6.q16-6" in why
