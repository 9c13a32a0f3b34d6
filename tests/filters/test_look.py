"""Looking for faces: large and small ones in pictures of every size, each of them once."""

import cv2
import numpy as np
import pytest
from pictures import pillow, reopened, saved

from zgrid.filters import Image, look, yunet
from zgrid.filters.face import Face

pytestmark = pytest.mark.usefixtures("with_yunet")

WIDTH, HEIGHT = 4000, 3000


@pytest.fixture
def head(photograph):
    """The pixels round the photograph's face, and its box in them."""
    pixels = np.asarray(reopened(photograph).convert("RGB"))[:, :, ::-1]
    (face,) = look.search(Image("test:", photograph), yunet.network(), 0.6)
    x, y, w, h = face.box
    left, top = max(0, round(x - w)), max(0, round(y - h))
    part = pixels[top : round(y + 2 * h), left : round(x + 2 * w)]
    return part, (x - left, y - top, w, h)


def landscape():
    """Return twelve megapixels of soft hills without a face."""
    rough = np.random.default_rng(2).integers(60, 190, (9, 12, 3)).astype(np.float32)
    return cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def with_heads(head, places, face_px):
    """Return the landscape as a JPEG with the head at each place, and the boxes of the faces, ``face_px`` wide."""
    part, (x, y, w, h) = head
    scale = face_px / w
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene, boxes = landscape(), []
    for left, top in places:
        scene[top : top + small.shape[0], left : left + small.shape[1]] = small
        boxes.append((left + x * scale, top + y * scale, w * scale, h * scale))
    return saved(pillow(scene), "JPEG", quality=92), boxes


def search(data, side_px=0, score=0.6):
    """Return what is found in a file."""
    return look.search(Image("test:", data), yunet.network(), score, side_px)


def found(faces, boxes):
    """Return how many of the boxes were found, by a face of its own each."""
    free = list(faces)
    hits = 0
    for box in boxes:
        best = max(free, key=lambda face: look._overlap(face, Face(box)), default=None)
        if best is not None and look._overlap(best, Face(box)) > 0.5:
            free.remove(best)
            hits += 1
    return hits


@pytest.mark.parametrize("face_px", [900, 300, 100, 84])
def test_a_face_in_twelve_megapixels(head, face_px):
    """A face is found whether it fills the picture or is a fiftieth of it, and nothing else is."""
    data, boxes = with_heads(head, [(700, 100 if face_px > 500 else 500)], face_px)
    faces = search(data)
    assert (len(faces), found(faces, boxes)) == (1, 1)


def test_a_crowd_in_twelve_megapixels(head):
    """Of eighty faces of 40 pixels, far too small for the first look, nearly all are found, each once."""
    places = [(120 + 480 * column, 120 + 280 * row) for column in range(8) for row in range(10)]
    data, boxes = with_heads(head, places, 40)
    faces = search(data)
    assert found(faces, boxes) >= 72
    assert len(faces) <= 84


@pytest.mark.parametrize("face_px", [14, 20, 40])
def test_a_face_in_a_small_picture(head, face_px):
    """A small picture is enlarged, so that small faces in it are found."""
    part, (x, y, w, h) = head
    scale = face_px / w
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = search(saved(pillow(small), "PNG"))
    assert (len(faces), found(faces, [(x * scale, y * scale, w * scale, h * scale)])) == (1, 1)


def test_scores_and_places_are_in_order(head):
    """The best comes first, its points lie within its box, and no score is below what was asked for."""
    data, _ = with_heads(head, [(400, 300), (2500, 1500), (1500, 2000)], 120)
    faces = search(data, score=0.3)
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    assert all(face.score >= 0.3 for face in faces)
    for face in faces:
        x, y, w, h = face.box
        assert all(x < px < x + w and y < py < y + h for px, py in face.landmarks)


def test_the_first_look_fits_the_photograph():
    """Up to 1066 pixels the first look has 640; it grows with the photograph, up to 960."""
    assert [look.fitting_side(side) for side in (100, 640, 1066, 1200, 1600, 9000)] == [640, 640, 640, 720, 960, 960]


def test_a_look_that_is_asked_for_is_taken(head):
    """longest_px is the first look's side: at 320 the small face in the large picture is gone."""
    data, _ = with_heads(head, [(700, 500)], 60)
    assert len(search(data, 1280)) == 1
    assert len(search(data, 160)) == 0


def test_windows_settle_neighbours_together():
    """Doubts that are near one another and of a size share a window; others get one of their own."""
    near, far, large = (
        Face((122.0, 105.0, 20.0, 24.0)),
        Face((900.0, 700.0, 20.0, 24.0)),
        Face((90.0, 80.0, 200.0, 240.0)),
    )
    windows = look._windows([Face((100.0, 100.0, 20.0, 24.0)), near, far, large], 1000, 800)
    assert [len(window.doubts) for window in windows] == [2, 1, 1]
    assert all(0 <= w.left < w.right <= 1000 and 0 <= w.top < w.bottom <= 800 for w in windows)


def test_tiles_cover_what_is_in_doubt():
    """Every doubt lies in a tile; tiles without one are left out."""
    doubts = [Face((float(x), float(y), 10.0, 10.0)) for x, y in ((0, 0), (3989, 2989), (2000, 1500))]
    tiles = look._tiles(WIDTH, HEIGHT, 0.5, doubts)
    assert all(any(look._middle_in(face, tile) for tile in tiles) for face in doubts)
    assert 3 <= len(tiles) < 12
