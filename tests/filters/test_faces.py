"""The filter faces: boxes in the upright original, by either detector."""

import numpy as np
import pytest
from pictures import as_stored, exif, pillow, reopened, saved, scene

from zgrid import models
from zgrid.filters import (
    Chain,
    Discard,
    Image,
    Keep,
    detector_advice,
    detector_engine,
    detector_name,
    parse_steps,
    yunet,
)
from zgrid.filters.face import Face

MARGIN_PX = 25
"""How far two detections of one face may lie apart, on a photograph of some 500 pixels."""


def found(data, *options):
    """Return the notes of the faces filter."""
    outcome = Chain(parse_steps([":".join(["faces", *options])])).run(Image("test:", data))
    assert isinstance(outcome, Keep), outcome
    return outcome.notes


def test_yunet_finds_the_face(with_yunet, photograph):
    """One face, sure, with its five points within its box: eyes above the nose above the mouth."""
    notes = found(photograph)
    (face,) = notes["faces"]
    x, y, w, h = face["box"]
    right_eye, left_eye, nose, right_mouth, left_mouth = face["landmarks"]
    assert notes["detector"] == detector_name() == "yunet_2023mar"
    assert notes["engine"] == detector_engine()
    assert detector_advice() is None or "zgrid[onnx]" in detector_advice()
    assert face["score"] > 0.9
    assert all(x < px < x + w and y < py < y + h for px, py in face["landmarks"])
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_haar_finds_the_face_and_says_what_to_do(with_haar, with_yunet_box, photograph):
    """Without the model the cascade finds about the same box, and the advice names the command."""
    notes = found(photograph)
    assert notes["detector"] == detector_name() == "haar_alt2"
    assert "zgrid models fetch yunet" in detector_advice()
    (face,) = notes["faces"]
    assert (face["score"], face["landmarks"]) == (None, None)
    centre = [face["box"][at] + face["box"][at + 2] / 2 for at in (0, 1)]
    expected = [with_yunet_box[at] + with_yunet_box[at + 2] / 2 for at in (0, 1)]
    assert np.abs(np.subtract(centre, expected)).max() < MARGIN_PX


@pytest.fixture(scope="module")
def with_yunet_box(yunet_model, photograph):
    """The box that YuNet finds, straight from the detector."""
    pixels, scale = Image("test:", photograph).pixels(640)
    yunet.forget()
    (face,) = yunet.find_faces(pixels, 0.6)
    yunet.forget()
    return [value / scale for value in face.box]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_upright(with_yunet, photograph, orientation):
    """However the photograph is stored, the face is where a viewer shows it."""
    upright = reopened(photograph).convert("RGB")
    data = saved(as_stored(upright, orientation), "JPEG", quality=95, exif=exif(orientation))
    wanted, got = found(photograph)["faces"][0], found(data)["faces"][0]
    assert np.abs(np.subtract(got["box"], wanted["box"])).max() < MARGIN_PX / 2


def test_boxes_are_in_pixels_of_the_original(with_yunet, photograph):
    """A photograph four times as large has its face four times as far right and down."""
    small = reopened(photograph).convert("RGB")
    large = small.resize((small.width * 4, small.height * 4))
    wanted, got = found(photograph)["faces"][0], found(saved(large, "JPEG", quality=90))["faces"][0]
    assert np.abs(np.subtract(got["box"], np.multiply(wanted["box"], 4))).max() < 4 * MARGIN_PX / 2


@pytest.mark.parametrize("detector", ["with_yunet", "with_haar"])
def test_no_face_is_discarded(request, detector):
    """An image without a face is discarded by either detector, whatever its shape."""
    request.getfixturevalue(detector)
    chain = Chain(parse_steps(["faces"]))
    for width, height in ((640, 480), (1, 1), (5, 2000), (3000, 7), (33, 31)):
        image = Image("test:", saved(pillow(scene(width, height)), "PNG"))
        assert chain.run(image) == Discard("no face"), (width, height)


def test_a_higher_score_finds_no_more(with_yunet, photograph):
    """The score is a bound from below, also for a detector that was used with another one before."""
    assert len(found(photograph, "score=0.3")["faces"]) >= 1
    assert Chain(parse_steps(["faces:score=1.0"])).run(Image("test:", photograph)) == Discard("no face")
    assert len(found(photograph, "score=0.6")["faces"]) == 1


def test_a_box_is_cut_at_the_edges():
    """A detector's box may leave the picture; the note's does not, and nothing is left of one that lies outside."""
    face = Face((-10.0, 5.0, 30.0, 100.0), 0.87654321, ((-1.0, 2.0),) * 5)
    assert face.note(2.0, 2.0, 100, 50) == {
        "box": [0.0, 10.0, 40.0, 40.0],
        "score": 0.8765,
        "landmarks": [[-2.0, 4.0]] * 5,
    }
    assert Face((60.0, 5.0, 30.0, 30.0)).note(2.0, 2.0, 100, 50) is None


def test_a_model_that_arrives_is_used(with_haar, monkeypatch, yunet_model, photograph):
    """After the model is fetched, the next process finds with it: forget() stands for that."""
    assert found(photograph)["detector"] == "haar_alt2"
    monkeypatch.setenv("ZGRID_MODELS", str(yunet_model.parent))
    yunet.forget()
    assert models.find("yunet") == yunet_model
    assert found(photograph)["detector"] == "yunet_2023mar"
