"""Looking for faces: once at the whole picture at a modest size, and closer where that leaves doubt.

YuNet knows faces of some 10 to 300 pixels, and its price grows with the area that it is shown. So the first look is at
the whole picture with a longest side of 640 pixels, also of a smaller picture, which is enlarged (this alone finds a
third of the faces that are missed otherwise), and of up to 960 pixels of a large one, in which faces that matter may be
small. What it is sure of is a face. Where it is not, a closer look at the place settles it: a small window in which the
face in question would be of the size that the network knows best. Where the original has more pixels to show there, the
closer look alone counts, and finds faces beside the one in question; where it has not, the two looks are averaged. A
crowd of doubts is settled by looking at all of the picture in large tiles.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from zgrid.filters import yunet
from zgrid.filters.face import Face
from zgrid.filters.image import Image, resized

SIDE_PX = 640
"""Longest side of the first look."""
SIDE_PX_LARGE = 960
"""The same of a large photograph. Of faces of a fiftieth of its side it finds four of five, where 640 finds three of
five; of a seventieth two of three, and 640 one. 1120 would find a tenth more, and take a third longer."""
SHOWN = 0.6
"""How much of a photograph's own side the first look has, between these two. More shows more of what only looks like a
face: of pictures of 640 pixels, whole or enlarged to 800, it makes mistakes that it does not make otherwise."""
ENLARGE_MAX = 4.0
"""A tiny picture is enlarged no more than this."""
SURE = 0.8
"""A score from which a face needs no second look: nine in ten of the wrong ones are below."""
DOUBT = 0.4
"""A score from which a second look may make a face of it."""
DOUBT_SMALL = 0.2
"""The same where the original has more to show: the first look saw a few blurred pixels."""
GAIN = 1.5
"""From how much finer on the original is finer; else the closer look shows nothing new, only in another size."""
WINDOW_PX = 192
"""Side of a window of a closer look."""
FACE_PX = 48
"""How large the face in question is in it."""
WINDOWS_MAX = 8
"""More doubts than fit into so many windows are a crowd."""
TILE_PX = 640
TILE_OVERLAP_PX = 64
TILES_MAX = 24
CROWD_FACE_PX = 28
"""How large the smaller faces of a crowd shall be in the tiles."""
SAME_FACE = 0.3
"""Boxes of two looks that overlap this much (intersection over union) are one face."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the original, in its pixels, shown ``scale`` times as large; ``doubts`` are to be settled in it."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float
    doubts: list[Face] = field(default_factory=list)


def search(image: Image, network: yunet.Network, score_min: float, side_px: int = 0) -> list[Face]:
    """Return the faces that have at least ``score_min``, best first, in pixels of the upright original.

    ``side_px`` is the longest side of the first look, 0 for one that fits the image.
    """
    header = image.header
    longest = max(header.width, header.height)
    scale = min((side_px or fitting_side(longest)) / longest, ENLARGE_MAX)
    detail = image.detail(round(longest * scale))
    view = resized(detail, max(1, round(header.width * scale)), max(1, round(header.height * scale)))
    across, down = view.shape[1] / header.width, view.shape[0] / header.height
    low = min(DOUBT_SMALL, score_min)
    seen = [_moved(face, across, down) for face in yunet.find_faces(view, low, network)]
    sure = [face for face in seen if _score(face) >= max(SURE, score_min)]
    doubts = [face for face in seen[len(sure) :] if _score(face) >= min(_threshold(face, scale), score_min)]
    if not doubts:
        return sure
    looks = _Looks(image, network, detail, scale, score_min)
    windows = _windows(doubts, header.width, header.height)
    settled = looks.at_windows(windows) if len(windows) <= WINDOWS_MAX else looks.at_crowd(doubts)
    return _each_once(sure + settled)


def fitting_side(longest_px: int) -> int:
    """Return the longest side of the first look at an image of this longest side."""
    return min(max(SIDE_PX, round(longest_px * SHOWN)), SIDE_PX_LARGE)


class _Looks:
    """Closer looks at one picture, whose pixels are decoded again where there are not enough of them yet."""

    def __init__(self, image: Image, network: yunet.Network, detail: Pixels, scale: float, score_min: float) -> None:
        self._image = image
        self._detail = detail
        self._scale = scale
        self._score_min = score_min
        self._network = network

    def at_windows(self, windows: list[Window]) -> list[Face]:
        """Return the faces that closer looks make of the doubts, and others that they find beside them."""
        self._fetch(max(window.scale for window in windows))
        faces: list[Face] = []
        for window in windows:
            found = self._find(window, min(DOUBT_SMALL, self._score_min))
            gained = _gain(window.scale, self._scale)
            for doubt in window.doubts:
                again = max(found, key=lambda face: _overlap(face, doubt), default=None)
                if again is None or _overlap(again, doubt) < SAME_FACE:
                    continue
                score = _score(again) if gained else (_score(again) + _score(doubt)) / 2
                faces.append((again if window.scale > self._scale else doubt)._replace(score=score))
            if gained:
                faces += [face for face in found if not any(_overlap(face, one) >= SAME_FACE for one in window.doubts)]
        return [face for face in faces if _score(face) >= self._score_min]

    def at_crowd(self, doubts: list[Face]) -> list[Face]:
        """Return the faces of a picture that has too many doubts for windows."""
        kept = [face for face in doubts if _score(face) >= self._score_min]
        header = self._image.header
        size = sorted(map(_size, doubts))[len(doubts) // 4]
        scale = min(CROWD_FACE_PX / size, 1.0)
        tiles = _tiles(header.width, header.height, scale, doubts)
        while len(tiles) > TILES_MAX:
            scale *= 0.9
            tiles = _tiles(header.width, header.height, scale, doubts)
        if not _gain(scale, self._scale):
            return kept
        self._fetch(scale)
        for tile in tiles:
            kept += self._find(tile, self._score_min)
        return kept

    def _fetch(self, scale: float) -> None:
        """See that there are pixels for looks at this scale, as far as the original has them."""
        header = self._image.header
        wanted = round(max(header.width, header.height) * min(scale, 1.0))
        if max(self._detail.shape) < 0.8 * wanted:
            self._detail = self._image.detail(wanted)

    def _find(self, window: Window, score_min: float) -> list[Face]:
        """Return the faces in a window, but for those that its edges cut, in pixels of the original."""
        header, (height, width) = self._image.header, self._detail.shape[:2]
        across, down = width / header.width, height / header.height
        left, right = round(window.left * across), max(round(window.right * across), round(window.left * across) + 1)
        top, bottom = round(window.top * down), max(round(window.bottom * down), round(window.top * down) + 1)
        part = self._detail[top:bottom, left:right]
        shown = resized(
            part,
            max(1, round((window.right - window.left) * window.scale)),
            max(1, round((window.bottom - window.top) * window.scale)),
        )
        across *= shown.shape[1] / part.shape[1]
        down *= shown.shape[0] / part.shape[0]
        found = [
            _moved(face, across, down, window.left, window.top)
            for face in yunet.find_faces(shown, score_min, self._network)
        ]
        return [face for face in found if not _is_cut(face, window, header.width, header.height)]


def _score(face: Face) -> float:
    return face.score or 0.0


def _size(face: Face) -> float:
    """Return the side of a square as large as the face's box."""
    return max(1e-3, math.sqrt(face.box[2] * face.box[3]))


def _gain(scale: float, first: float) -> bool:
    """Return whether a look at ``scale`` shows more of the original than one at ``first`` did."""
    return min(scale, 1.0) >= GAIN * min(first, 1.0)


def _threshold(face: Face, scale: float) -> float:
    return DOUBT_SMALL if _gain(FACE_PX / _size(face), scale) else DOUBT


def _moved(face: Face, across: float, down: float, left: int = 0, top: int = 0) -> Face:
    """Return a face seen in a window in pixels of the original."""
    x, y, w, h = face.box
    points = face.landmarks and tuple((left + px / across, top + py / down) for px, py in face.landmarks)
    return Face((left + x / across, top + y / down, w / across, h / down), face.score, points)


def _overlap(one: Face, other: Face) -> float:
    """Return intersection over union of two faces' boxes."""
    x, y, w, h = one.box
    left, top, width, height = other.box
    across = min(x + w, left + width) - max(x, left)
    down = min(y + h, top + height) - max(y, top)
    shared = max(0.0, across) * max(0.0, down)
    return shared / max(1e-9, w * h + width * height - shared)


def _windows(doubts: list[Face], width: int, height: int) -> list[Window]:
    """Return windows in which all doubts can be settled: one round the best, with those that are near, and so on."""
    windows: list[Window] = []
    left = list(doubts)
    while left and len(windows) <= WINDOWS_MAX:
        x, y, w, h = left[0].box
        scale = FACE_PX / _size(left[0])
        reach = WINDOW_PX / scale / 2
        window = Window(
            max(0, int(x + w / 2 - reach)),
            max(0, int(y + h / 2 - reach)),
            min(width, int(x + w / 2 + reach)),
            min(height, int(y + h / 2 + reach)),
            scale,
            [left[0]],
        )
        others = left[1:]
        window.doubts.extend(face for face in others if _fits(face, window))
        left = [face for face in others if not _fits(face, window)]
        windows.append(window)
    return windows


def _fits(face: Face, window: Window) -> bool:
    """Return whether a face is wholly in a window, and of a good size there."""
    x, y, w, h = face.box
    inside = x >= window.left and y >= window.top and x + w <= window.right and y + h <= window.bottom
    return inside and 0.5 <= _size(face) * window.scale / FACE_PX <= 2


def _tiles(width: int, height: int, scale: float, doubts: list[Face]) -> list[Window]:
    """Return the tiles of the picture, shown at ``scale``, in which the middle of any doubt lies."""
    tiles = []
    step = (TILE_PX - TILE_OVERLAP_PX) / scale
    for top in np.arange(0, max(1, height - TILE_OVERLAP_PX / scale), step).astype(int).tolist():
        for left in np.arange(0, max(1, width - TILE_OVERLAP_PX / scale), step).astype(int).tolist():
            right, bottom = (int(edge + TILE_PX / scale) for edge in (left, top))
            tile = Window(left, top, min(width, right), min(height, bottom), scale)
            if any(_middle_in(face, tile) for face in doubts):
                tiles.append(tile)
    return tiles


def _middle_in(face: Face, window: Window) -> bool:
    x, y, w, h = face.box
    return window.left <= x + w / 2 < window.right and window.top <= y + h / 2 < window.bottom


def _is_cut(face: Face, window: Window, width: int, height: int) -> bool:
    """Return whether an edge of the window that is not one of the picture runs through the face."""
    x, y, w, h = face.box
    edge = 1.5 / window.scale
    return (
        (window.left > 0 and x < window.left + edge)
        or (window.top > 0 and y < window.top + edge)
        or (window.right < width and x + w > window.right - edge)
        or (window.bottom < height and y + h > window.bottom - edge)
    )


def _each_once(faces: list[Face]) -> list[Face]:
    """Return each face once, best first: looks overlap."""
    faces = sorted(faces, key=lambda face: (-_score(face), face.box))
    kept = cv2.dnn.NMSBoxes([face.box for face in faces], [_score(face) for face in faces], 0.0, SAME_FACE)
    return [faces[number] for number in np.asarray(kept, np.intp).ravel().tolist()]
