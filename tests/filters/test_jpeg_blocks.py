"""Drawing into a JPEG's blocks: the line is there, nothing else is another, and odd files are encoded anew."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import pillow, saved, scene

from zgrid.filters import Chain, Fail, Image, Keep, jpeg_blocks, lines, parse_steps, turbojpeg
from zgrid.filters.lines import Rect

MAGENTA = (255, 0, 255)
WIDTH, HEIGHT = 203, 149
"""No multiple of a block's side."""
BOX = Rect(50, 41, 131, 108)
LINE = 9
REACH_PX = 34
"""How far from a line a pixel may change: the largest unit's side, and what a decoder smooths."""


def smooth():
    """Return pixels as photographs have them: soft, with a little noise."""
    chance = np.random.default_rng(1)
    rough = chance.integers(60, 200, (12, 16, 3)).astype(np.float32)
    return np.clip(cv2.resize(rough, (WIDTH, HEIGHT)) + chance.normal(0, 3, (HEIGHT, WIDTH, 3)), 0, 255).astype(
        np.uint8
    )


def factor(name):
    """Return OpenCV's option for how much finer brightness is kept than colour."""
    return [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}")]


def encoded(*options):
    """Return the pixels as a JPEG of OpenCV's."""
    return cv2.imencode(".jpg", smooth(), [cv2.IMWRITE_JPEG_QUALITY, 92, *options])[1].tobytes()


KINDS = {
    **{name: encoded(*factor(name)) for name in ("411", "420", "422", "440", "444")},
    "progressive": encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "optimised": encoded(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "restarting": encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    "of Pillow": saved(pillow(smooth()), "JPEG", quality=90),
}


def patches(*boxes, line=LINE):
    """Return the lines within boxes."""
    return lines.drawn(list(boxes), line, (255, 0, 255))


def decoded(data):
    """Return a file's pixels."""
    return Image("test:", data).stored()


def near(*boxes, line=LINE):
    """Return where the lines are, and what is near enough to them to change."""
    on = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    lines.paint(on, patches(*boxes, line=line))
    on = (on[:, :, 3] > 0).astype(np.uint8)
    return on > 0, cv2.dilate(on, np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)) > 0


@pytest.fixture(autouse=True)
def _library():
    """These tests are of a library that scripts/libraries installs."""
    assert turbojpeg.is_here(), "libturbojpeg.so.0 is missing: scripts/libraries .venv/bin/python"


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_the_line_touches_changes(kind):
    """Every other pixel is what it was, to the bit, and the line has its colour."""
    before, after = decoded(KINDS[kind]), decoded(jpeg_blocks.draw(KINDS[kind], patches(BOX)))
    on, around = near(BOX)
    assert (after[~around] == before[~around]).all()
    wrong = np.abs(after[on].astype(int) - MAGENTA).max(axis=1)
    assert np.median(wrong) <= 12
    assert np.abs(after.astype(int) - before)[around & ~on].mean() < 12


@pytest.mark.parametrize("kind", ["420", "444"])
@pytest.mark.parametrize(
    "boxes",
    [
        [Rect(0, 0, WIDTH, HEIGHT)],
        [Rect(WIDTH - 40, HEIGHT - 30, WIDTH, HEIGHT)],
        [Rect(0, 60, 20, 90)],
        [Rect(10, 10, 60, 60), Rect(15, 12, 64, 58), Rect(30, 5, 90, 100)],
        [Rect(64, 64, 65, 65)],
    ],
)
def test_at_the_edges_and_over_one_another(kind, boxes):
    """Lines reach the picture's last pixel and may cross; what is far from them does not change."""
    before, after = decoded(KINDS[kind]), decoded(jpeg_blocks.draw(KINDS[kind], patches(*boxes)))
    on, around = near(*boxes)
    assert (after[~around] == before[~around]).all()
    wanted = before.copy()
    lines.paint(wanted, patches(*boxes))
    assert np.abs(after[on].astype(int) - wanted[on]).mean() < 25 + 200 * (on.sum() < 4)


def test_drawing_again_and_again_costs_nothing():
    """Twenty lines one after the other leave the rest as it was: nothing fades."""
    data = KINDS["420"]
    before = decoded(data)
    for number in range(20):
        data = jpeg_blocks.draw(data, patches(Rect(10, 10, 40 + number, 40)))
    _, around = near(Rect(10, 10, 60, 40), line=20)
    assert (decoded(data)[~around] == before[~around]).all()


def test_it_looks_like_a_picture_that_is_encoded_anew():
    """On the line, the blocks are as near to the colours as an encoder's of quality 90; elsewhere much nearer."""
    before = decoded(KINDS["420"])
    wanted = before.copy()
    lines.paint(wanted, patches(BOX))
    anew = decoded(cv2.imencode(".jpg", wanted, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    ours = decoded(jpeg_blocks.draw(KINDS["420"], patches(BOX)))
    on, _ = near(BOX)
    errors = [np.square(got.astype(float) - wanted)[mask].mean() for mask in (on, ~on) for got in (ours, anew)]
    assert errors[0] < 1.3 * errors[1]
    assert errors[2] < errors[3]


ODD = {
    "grey": saved(pillow(smooth()).convert("L"), "JPEG"),
    "cmyk": saved(pillow(smooth()).convert("CMYK"), "JPEG"),
    "rgb": saved(pillow(smooth()), "JPEG", keep_rgb=True),
    "coarse": saved(pillow(smooth()), "JPEG", quality=20),
    "cut short": KINDS["420"][: len(KINDS["420"]) // 2],
    "no tables": KINDS["420"].replace(b"\xff\xdb", b"\xff\xec"),
    "text": b"only text",
    "empty": b"",
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_is_left_to_the_encoder(kind):
    """Files that hold no colour blocks of the usual kind, or coarse or broken ones, are not drawn into."""
    assert jpeg_blocks.draw(ODD[kind], patches(BOX)) is None


@pytest.mark.parametrize("kind", ["grey", "cmyk", "rgb", "coarse"])
def test_the_filter_draws_on_odd_files_all_the_same(kind):
    """They are encoded anew, in colour."""
    image = Image("test:", ODD[kind])
    image.notes["faces"] = [{"box": [60, 50, 60, 50]}]
    outcome = Chain(parse_steps(["highlight:colour=magenta,width_px=9"])).run(image)
    assert isinstance(outcome, Keep)
    assert np.abs(decoded(outcome.picture)[45, 80].astype(int) - MAGENTA).max() < 40


def test_without_the_library_pictures_are_encoded_anew(monkeypatch):
    """libjpeg-turbo is a help, not a need."""
    monkeypatch.setattr(turbojpeg, "LIBRARY", "libno-such-thing.so.0")
    turbojpeg._library.cache_clear()
    try:
        assert not turbojpeg.is_here()
        assert jpeg_blocks.draw(KINDS["420"], patches(BOX)) is None
        assert turbojpeg.transform(KINDS["420"], lambda *_: None) is None
        test_the_filter_draws_on_odd_files_all_the_same("coarse")
    finally:
        monkeypatch.undo()
        turbojpeg._library.cache_clear()


def test_without_a_change_no_block_is_another():
    """The transform alone gives back the same pixels of every kind of file, and visits every row of blocks."""
    for kind, data in KINDS.items():
        rows = set()
        same = turbojpeg.transform(data, lambda component, row, _, seen=rows: seen.add((component, row)))
        assert (decoded(same) == decoded(data)).all(), kind
        assert {row for component, row in rows if component == 0} >= set(range(HEIGHT // 8))


def test_an_error_of_the_visitor_is_raised():
    """What goes wrong within the library's call is not swallowed by it."""

    def visit(component, row, blocks):
        raise KeyError("oh")

    with pytest.raises(KeyError, match="oh"):
        turbojpeg.transform(KINDS["420"], visit)


def test_tables_are_in_the_order_of_the_file():
    """The zigzag is the one of the standard: along diagonals, the first step to the right."""
    assert jpeg_blocks.ZIGZAG[:10] == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert sorted(jpeg_blocks.ZIGZAG) == list(range(64))
    assert np.allclose(jpeg_blocks.COSINES @ jpeg_blocks.COSINES.T, np.eye(64), atol=1e-6)
    grey = saved(pillow(scene(64, 64) // 2 + 60), "JPEG", quality=90)
    assert [(one.across, one.down) for one in jpeg_blocks.read_components(grey)] == [(1, 1), (2, 2), (2, 2)]


@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=12),
    keep=st.floats(0.2, 1.0),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_is_a_picture_or_a_fail(kind, changes, keep):
    """Whatever is done to a file's bytes, the filter gives a picture that can be read, or says what is wrong."""
    data = bytearray(KINDS[kind][: max(1, int(len(KINDS[kind]) * keep))])
    for where, value in changes:
        data[int(where * len(data))] = value
    image = Image("test:", bytes(data), pixels_max=1_000_000)
    image.notes["faces"] = [{"box": [20, 20, 60, 50]}]
    outcome = Chain(parse_steps(["highlight"])).run(image)
    assert isinstance(outcome, Keep | Fail)
    if isinstance(outcome, Keep):
        assert decoded(outcome.picture).shape[2] == 3
    else:
        assert "filter highlight failed" not in outcome.reason
