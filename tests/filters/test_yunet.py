"""YuNet's two engines: the same faces from both, on canvases of any size, and memory that does not grow with sizes."""

import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import reopened

from zgrid.filters import Chain, Fail, Image, parse_steps, yunet
from zgrid.filters.detector import ONNX_RUNTIME, OPENCV, detector_engine, has_onnx_runtime
from zgrid.filters.onnx_file import of_any_size

pytestmark = pytest.mark.usefixtures("with_yunet")

BOX_PX = 0.05
"""How far the engines' boxes and points may lie apart: a note rounds to a tenth."""
SCORE = 0.001


def views(photograph):
    """Yield pixels of several shapes with a face, none, and several."""
    whole = np.asarray(reopened(photograph).convert("RGB"))[:, :, ::-1]
    yield whole
    yield whole[:331, :407]
    yield whole[::3, ::3]
    yield np.tile(whole[::4, ::4], (3, 2, 1))
    yield np.zeros((64, 500, 3), np.uint8)
    yield np.zeros((1, 1, 3), np.uint8)


def test_both_engines_find_the_same(photograph):
    """OpenCV and ONNX Runtime give the same faces, down to those that are hardly any."""
    assert has_onnx_runtime(), "the extra test brings ONNX Runtime"
    by_opencv, by_onnx = yunet.network(OPENCV), yunet.network(ONNX_RUNTIME)
    assert (by_opencv.name, by_onnx.name) == ("opencv", "onnxruntime")
    seen = 0
    for view in views(photograph):
        ours, theirs = (yunet.find_faces(view, 0.2, network) for network in (by_onnx, by_opencv))
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert np.abs(np.subtract(one.box, other.box)).max() < BOX_PX
            assert np.abs(np.subtract(one.landmarks, other.landmarks)).max() < BOX_PX
            assert abs(one.score - other.score) < SCORE
            seen += 1
    assert seen >= 8


def test_the_best_engine_is_chosen_by_itself(photograph, monkeypatch):
    """ONNX Runtime where it is installed, else OpenCV; the notes say which it was, and an option may name one."""
    assert yunet.network().name == detector_engine() == "onnxruntime"
    notes = Chain(parse_steps(["faces:engine=opencv"])).run(Image("test:", photograph)).notes
    assert (notes["detector"], notes["engine"]) == ("yunet_2023mar", "opencv")
    yunet.forget()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "zgrid.filters.yunet_onnx")
    assert yunet.network().name == "opencv"
    outcome = Chain(parse_steps(["faces:engine=onnxruntime"])).run(Image("test:", photograph))
    assert isinstance(outcome, Fail)
    assert "pip install 'zgrid[onnx]'" in outcome.reason


@pytest.mark.parametrize("engine", [OPENCV, ONNX_RUNTIME])
def test_memory_does_not_grow_with_the_sizes(engine):
    """Photographs of twenty shapes need no more memory than the largest of them: one network serves all sizes."""
    code = (
        "import sys, numpy as np\n"
        "from zgrid.filters import yunet\n"
        "from zgrid.filters.threads import use_one_thread\n"
        "use_one_thread()\n"
        "def mb(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        f"network = yunet.network({engine!r})\n"
        "def look(*size): yunet.find_faces(np.zeros((*size, 3), np.uint8), 0.6, network)\n"
        "look(640, 640); look(192, 192); look(640, 640)\n"
        "before = mb()\n"
        "for n in range(10): look(320 + 32 * n, 640); look(640, 320 + 32 * n)\n"
        "print(mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 80


def test_the_models_size_is_struck_out(yunet_model):
    """The rewritten model is a little shorter, and the network in it is the same to the byte."""
    model = yunet_model.read_bytes()
    opened = of_any_size(model)
    assert len(model) - 10_000 < len(opened) < len(model)
    assert of_any_size(opened) == opened


@given(st.binary(max_size=200))
def test_what_is_no_model_is_an_error(data):
    """Rubbish is a ValueError, or happens to be a protocol buffer; it is nothing worse."""
    with suppress(ValueError):
        assert isinstance(of_any_size(data), bytes)
