"""YuNet in OpenCV's hands: always there, since OpenCV is."""

import cv2
import numpy as np
import numpy.typing as npt

from zgrid.filters.detector import OPENCV
from zgrid.filters.yunet import CANDIDATES_MAX, NMS_IOU, Rows


class OpenCVNetwork:
    """One detector, told of the canvas's size when that changes: a detector for each size costs 25 MB apiece."""

    name = OPENCV

    def __init__(self, model: bytes) -> None:
        content, config = np.frombuffer(model, np.uint8), np.zeros(0, np.uint8)
        self._size = (320, 320)
        self._detector = cv2.FaceDetectorYN.create("onnx", content, config, self._size, 0.6, NMS_IOU, CANDIDATES_MAX)

    def find(self, canvas: npt.NDArray[np.uint8], score_min: float) -> Rows:
        """Return the faces on a canvas."""
        size = (canvas.shape[1], canvas.shape[0])
        if size != self._size:
            self._detector.setInputSize(size)
            self._size = size
        self._detector.setScoreThreshold(score_min)
        _, rows = self._detector.detect(canvas)
        return np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
