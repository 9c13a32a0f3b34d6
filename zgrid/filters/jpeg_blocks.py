"""Drawing into a JPEG file: only the blocks that a line touches are changed, all others stay as they are, to the bit.

Decoding and encoding a photograph anew costs more than finding the faces in it, and every pixel a little of its
quality. A JPEG file is a row of blocks of 8 x 8 samples for each component (brightness and two colours, which mostly
have half of the resolution), each kept as 64 quantised coefficients of its cosine transform. A block that is touched is
turned into samples, painted, and turned back with the file's own tables.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zgrid.filters import turbojpeg
from zgrid.filters.lines import Patch

Floats = npt.NDArray[np.float32]

COARSEST = 24
"""Mean step of the brightness table's first 16 entries up to which a line still looks like one: libjpeg's quality 50
has 17. Coarser files are encoded anew."""

PAINTED_BYTES_MAX = 8 << 20
"""A line that covers more of the picture (BGRA) than this is no line: as pixels it costs less."""

_SIDE = 8
_QUANTISATION, _SCAN, _ADOBE = 0xDB, 0xDA, 0xEE
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive, which libjpeg-turbo knows."""
_FACTOR_MAX = 4
"""Most samples of a component in each direction of a unit (T.81, B.2.2). Up to it, the spans divide each other."""
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


class Component(NamedTuple):
    """How a component is kept: how many pixels a sample spans in each direction, and its quantisation steps."""

    across: int
    down: int
    steps: tuple[int, ...]


def _zigzag() -> list[int]:
    """Return where each coefficient of a file is in its block: along diagonals, turning at the edges."""
    cells = [(row, column) for row in range(_SIDE) for column in range(_SIDE)]
    cells.sort(key=lambda cell: (sum(cell), cell[0] if sum(cell) % 2 else cell[1]))
    return [row * _SIDE + column for row, column in cells]


def _cosines() -> Floats:
    """Return the matrix that turns a block's 64 samples (a row) into coefficients; its transpose undoes that."""
    frequency, place = np.mgrid[0:_SIDE, 0:_SIDE]
    one = np.cos((2 * place + 1) * frequency * np.pi / (2 * _SIDE)) / 2
    one[0] /= np.sqrt(2)
    return np.kron(one, one).T.astype(np.float32)


ZIGZAG = _zigzag()
COSINES = _cosines()
COLOURS = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)
"""Red, green and blue as brightness and two colours (JFIF)."""
MIDDLES = np.array([-128, 0, 0], np.float32)
"""What is added to make samples lie round zero."""


def draw(data: bytes | memoryview, patches: list[Patch]) -> bytes | None:
    """Return the JPEG file with the patches painted, in pixels as they are stored, and without any EXIF or profile.

    None when it has to be encoded anew: it is no ordinary colour JPEG, or a coarse one, or the library is missing.
    """
    components = read_components(data) if turbojpeg.is_here() else None
    if components is None or sum(components[0].steps[:16]) > 16 * COARSEST:
        return None
    tall, wide = (_SIDE * max(one) for one in zip(*(each[1::-1] for each in components), strict=True))
    if not patches or sum(patch.pixels.size for patch in patches) > PAINTED_BYTES_MAX:
        return None
    tiles = _tiles(patches, tall, wide)
    plans = [_Plan(component, number, tiles) for number, component in enumerate(components)]
    made = turbojpeg.transform(data, lambda number, row, blocks: plans[number].paint(row, blocks))
    # A file may change its tables on the way, which is legal and never seen; then the wrong ones were used here.
    return made if made is not None and read_components(made) == components else None


class _Tiles(NamedTuple):
    """What is painted, cut along the grid of the file's units; a unit has one or more blocks of each component.

    ``rows`` and ``columns`` are each tile's place in the grid. ``planes`` are tiles x 4 x height x width in pixels: 1
    where a pixel is painted, else 0, and its samples of the three components, 0 where it is not.
    """

    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    planes: Floats


def _tiles(patches: list[Patch], tall: int, wide: int) -> _Tiles:
    """Return the tiles, of ``tall`` x ``wide`` pixels, that patches cover; a later patch lies over an earlier one."""
    cuts = [_cut(patch, tall, wide) for patch in patches]
    places, which = np.unique(np.concatenate([place for place, _ in cuts]), axis=0, return_inverse=True)
    planes = np.zeros((len(places), 4, tall, wide), np.float32)
    which, start = which.ravel(), 0
    for place, parts in cuts:
        here = which[start : start + len(place)]
        planes[here] = np.where(parts[:, :1] > 0, parts, planes[here])
        start += len(place)
    return _Tiles(places[:, 0], places[:, 1], planes)


def _cut(patch: Patch, tall: int, wide: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the places and planes of the tiles that a patch covers."""
    height, width = patch.pixels.shape[:2]
    top, left = patch.top // tall, patch.left // wide
    rows, columns = -(-(patch.top + height) // tall) - top, -(-(patch.left + width) // wide) - left
    opaque = (patch.pixels[:, :, 3] >= 128).astype(np.float32)
    samples = patch.pixels[:, :, 2::-1].astype(np.float32) @ COLOURS.T + MIDDLES
    grid = np.zeros((4, rows * tall, columns * wide), np.float32)
    down, across = patch.top - top * tall, patch.left - left * wide
    grid[0, down : down + height, across : across + width] = opaque
    grid[1:, down : down + height, across : across + width] = samples.transpose(2, 0, 1) * opaque
    planes = grid.reshape(4, rows, tall, columns, wide).transpose(1, 3, 0, 2, 4).reshape(-1, 4, tall, wide)
    place = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1) + np.array((top, left))
    return place, planes


class _Plan:
    """What is to be painted of one component: which blocks of each row of blocks, and with what."""

    def __init__(self, component: Component, number: int, tiles: _Tiles) -> None:
        self._steps = np.array(component.steps, np.float32)[np.argsort(ZIGZAG)]
        cover, rows, columns = _in_blocks(component, tiles, 0)
        paint, _, _ = _in_blocks(component, tiles, number + 1)
        touched = np.flatnonzero(cover.any(axis=1))
        touched = touched[np.argsort(rows[touched], kind="stable")]
        self._columns, self._kept, self._paint = columns[touched], 1 - cover[touched], paint[touched]
        found, starts = np.unique(rows[touched], return_index=True)
        self._rows = dict(zip(found.tolist(), zip(starts, [*starts[1:], len(touched)], strict=True), strict=True))

    def paint(self, row: int, blocks: turbojpeg.Blocks) -> None:
        """Paint the blocks of one row that are touched."""
        if row not in self._rows:
            return
        which = slice(*self._rows[row])
        columns = self._columns[which]
        samples = (blocks[columns] * self._steps) @ COSINES.T
        samples *= self._kept[which]
        samples += self._paint[which]
        blocks[columns] = np.rint(samples @ COSINES / self._steps)


def _in_blocks(
    component: Component, tiles: _Tiles, plane: int
) -> tuple[Floats, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return a plane of the tiles in a component's own samples, as blocks of 64, and each block's row and column."""
    count, _, tall, wide = tiles.planes.shape
    down, across = tall // component.down // _SIDE, wide // component.across // _SIDE
    samples = _mean(tiles.planes[:, plane], component.down)
    samples = _mean(samples.swapaxes(1, 2), component.across).swapaxes(1, 2)
    shape = (count, down, _SIDE, across, _SIDE)
    blocks = samples.reshape(shape).transpose(0, 1, 3, 2, 4).reshape(-1, _SIDE * _SIDE)
    rows = tiles.rows[:, None, None] * down + np.arange(down)[:, None]
    columns = tiles.columns[:, None, None] * across + np.arange(across)
    rows, columns = np.broadcast_arrays(rows, columns)
    return blocks, rows.ravel(), columns.ravel()


def _mean(planes: Floats, count: int) -> Floats:
    """Return the means of so many neighbours each along the middle axis; slices are quicker than a mean's own axis."""
    total = planes[:, ::count]
    for at in range(1, count):
        total = total + planes[:, at::count]
    return total / np.float32(count)


def read_components(data: bytes | memoryview) -> list[Component] | None:
    """Return a JPEG file's three components; None when it has others, or is of another kind than nearly all are."""
    tables: dict[int, tuple[int, ...]] = {}
    frame, transform, at = b"", None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        content = bytes(data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")])
        if marker == _SCAN:
            return _components(frame, tables) if _is_brightness_first(frame, transform) else None
        if marker == _QUANTISATION and not _read_tables(content, tables):
            return None
        if marker == _ADOBE and content[:5] == b"Adobe" and len(content) >= 12:
            transform = content[11]
        if marker in _FRAMES:
            frame = content
        if marker in _OTHER_FRAMES:
            return None
        at += 4 + len(content)
    return None


def _read_tables(content: bytes, tables: dict[int, tuple[int, ...]]) -> bool:
    """Read the tables of a segment; return whether all are of 8 bits and whole."""
    for start in range(0, len(content), 65):
        steps = tuple(content[start + 1 : start + 65])
        if content[start] > 3 or len(steps) < 64 or 0 in steps:
            return False
        tables[content[start]] = steps
    return True


def _is_brightness_first(frame: bytes, transform: int | None) -> bool:
    """Return whether the frame has brightness and two colours of 8 bits, as libjpeg would take it."""
    if len(frame) != 6 + 3 * 3 or frame[0] != 8 or frame[5] != 3:
        return False
    return transform == 1 or (transform is None and frame[6::3] != b"RGB")


def _components(frame: bytes, tables: dict[int, tuple[int, ...]]) -> list[Component] | None:
    """Return the components of a frame; None when a table is missing or a sample spans no whole number of pixels."""
    across, down = [frame[at] >> 4 for at in (7, 10, 13)], [frame[at] & 15 for at in (7, 10, 13)]
    if not all(1 <= factor <= _FACTOR_MAX for factor in across + down):
        return None
    if any(max(one) % each for one in (across, down) for each in one):
        return None
    if any(frame[at] not in tables for at in (8, 11, 14)):
        return None
    return [
        Component(max(across) // across[number], max(down) // down[number], tables[frame[8 + 3 * number]])
        for number in range(3)
    ]
