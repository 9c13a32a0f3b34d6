"""YuNet in ONNX Runtime's hands: the extra ``onnx``. Importing this needs it."""

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from zgrid.filters.detector import ONNX_RUNTIME
from zgrid.filters.onnx_file import of_any_size
from zgrid.filters.yunet import CANDIDATES_MAX, NMS_IOU, STRIDE_PX, Rows

STRIDES_PX = (8, 16, 32)
"""The network answers for each cell of three grids."""
LIKELY = 0.999
"""Of the bound, so that rounding keeps nothing from its closer look."""

_NONE = np.empty((0, 15), np.float32)

OUTPUTS = tuple(f"{kind}_{stride}" for stride in STRIDES_PX for kind in ("cls", "obj", "bbox", "kps"))


class OnnxNetwork:
    """One session for canvases of every size, in one thread: a worker has a process for every core."""

    name = ONNX_RUNTIME

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors: what it warns of is nothing that anybody could mend
        self._session = onnxruntime.InferenceSession(of_any_size(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.find(np.zeros((STRIDE_PX, STRIDE_PX, 3), np.uint8), 0.6)  # one that cannot run says so here

    def find(self, canvas: npt.NDArray[np.uint8], score_min: float) -> Rows:
        """Return the faces on a canvas."""
        answers = iter(self._session.run(OUTPUTS, {self._input: _planes(canvas)}))
        found = [_decoded(stride, canvas.shape[1] // stride, score_min, *(next(answers)[0] for _ in range(4)))
                 for stride in STRIDES_PX]  # fmt: skip
        return _thinned(np.concatenate(found), score_min)


def _planes(canvas: npt.NDArray[np.uint8]) -> Rows:
    """Return a canvas as the network wants it, 1 x 3 x height x width. OpenCV's blobFromImage takes thrice as long."""
    planes = np.empty((1, 3, *canvas.shape[:2]), np.float32)
    for place, plane in zip(planes[0], cv2.split(canvas), strict=True):
        place[:] = plane
    return planes


def _decoded(stride: int, columns: int, score_min: float, cls: Rows, obj: Rows, boxes: Rows, points: Rows) -> Rows:
    """Return the faces that one grid's cells tell of, in cells from each one's corner."""
    # Nearly all cells tell of none: what is below the bound even before it is clipped needs no closer look.
    cells = np.flatnonzero(cls[:, 0] * obj[:, 0] >= LIKELY * score_min**2)
    if not cells.size:
        return _NONE
    scores = np.sqrt(np.clip(cls[cells, 0], 0, 1) * np.clip(obj[cells, 0], 0, 1))
    cells, scores = cells[scores >= score_min], scores[scores >= score_min]
    corners = np.stack((cells % columns, cells // columns), axis=1).astype(np.float32)
    rows = np.empty((len(cells), 15), np.float32)
    rows[:, 2:4] = np.exp(boxes[cells, 2:4]) * stride
    rows[:, 0:2] = (corners + boxes[cells, 0:2]) * stride - rows[:, 2:4] / 2
    rows[:, 4:14] = (np.tile(corners, 5) + points[cells]) * stride
    rows[:, 14] = scores
    return rows


def _thinned(rows: Rows, score_min: float) -> Rows:
    """Return each face once, best first. OpenCV's detector compares boxes of whole pixels, so this does."""
    if len(rows) < 2:
        return rows
    boxes = rows[:, :4].astype(np.int32).tolist()
    kept = cv2.dnn.NMSBoxes(boxes, rows[:, 14].tolist(), score_min, NMS_IOU, 1.0, CANDIDATES_MAX)
    return rows[np.asarray(kept, np.intp).ravel()]
