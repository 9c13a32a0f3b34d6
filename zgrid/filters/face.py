"""A face that a detector found, and how it is written into an image's notes."""

from typing import Any, NamedTuple

DECIMALS = 1
"""Tenths of a pixel: finer than any detector, and short on the wire."""


class Face(NamedTuple):
    """A box (left, top, width, height), a score from 0 to 1 and five landmarks where the detector gives them.

    The landmarks are points (x, y): right eye, left eye, tip of the nose, right and left corner of the mouth, right
    and left as the person has them. All in pixels of the array that was searched.
    """

    box: tuple[float, float, float, float]
    score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None

    def note(self, scale_x: float, scale_y: float, width: int, height: int) -> dict[str, Any] | None:
        """Return the face as plain data in pixels of the original, which is ``width`` x ``height``.

        ``scale_x`` and ``scale_y`` are original pixels per searched pixel. The box is cut at the original's edges;
        None when nothing of it is left.
        """
        x, y, w, h = self.box
        left, right = (min(max(edge * scale_x, 0.0), width) for edge in (x, x + w))
        top, bottom = (min(max(edge * scale_y, 0.0), height) for edge in (y, y + h))
        box = [round(value, DECIMALS) for value in (left, top, right - left, bottom - top)]
        if box[2] < 1 or box[3] < 1:
            return None
        points = self.landmarks and [
            [round(px * scale_x, DECIMALS), round(py * scale_y, DECIMALS)] for px, py in self.landmarks
        ]
        return {"box": box, "score": None if self.score is None else round(self.score, 4), "landmarks": points}
