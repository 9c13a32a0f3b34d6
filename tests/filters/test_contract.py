"""What every filter must keep to. It runs on all that are installed: a new one is tested without a line here."""

import time

import msgpack
import pytest
from pictures import every_kind, pillow, saved, scene

from zgrid.filters import Chain, Discard, Fail, Image, Keep, parse_steps, registry

RUN_S_MAX = 5.0
"""One megapixel may take this long on a slow and busy machine."""
EARLIER = {"faces": [{"box": [10.0, 12.0, 30.0, 31.5], "score": 0.9, "landmarks": None}], "detector": "yunet_2023mar"}
"""Notes as an earlier filter leaves them, for those that need some."""

BROKEN = {
    "empty": b"",
    "text": b"only text",
    "cut short": saved(pillow(scene(400, 300)), "JPEG")[:-200],
    "damaged": saved(pillow(scene(400, 300)), "PNG")[:100] + b"\0" * 500,
}


@pytest.fixture(params=registry.names())
def chain(request):
    """A chain of each filter by itself."""
    if why := registry.lacks(request.param):
        assert "cannot be loaded" not in why
        pytest.skip(why)
    return Chain(parse_steps([request.param]))


def run(chain, data):
    """Return the outcome of a fresh image, and the image."""
    image = Image("test:", data)
    image.notes.update(EARLIER)
    return chain.run(image), image


@pytest.mark.parametrize("kind", every_kind())
def test_same_image_same_outcome(chain, kind):
    """A job that is sent twice may be stored once, whichever came first."""
    data = every_kind()[kind]
    first, _ = run(chain, data)
    second, _ = run(chain, data)
    assert isinstance(first, Keep | Discard), first
    assert first == second


@pytest.mark.parametrize("how", BROKEN)
def test_bad_bytes_are_a_fail(chain, how):
    """Broken bytes fail for ever and say why; only a filter that does not look at the image may keep it."""
    outcome, image = run(chain, BROKEN[how])
    if image.touched:
        assert isinstance(outcome, Fail)
        assert not outcome.transient
        assert outcome.reason
        assert "filter " not in outcome.reason, "an exception that should be a FilterError"
    else:
        assert isinstance(outcome, Keep)


def test_notes_survive_msgpack(chain, photograph):
    """Notes are plain data, a picture is bytes of a named type."""
    outcome, _ = run(chain, photograph)
    assert isinstance(outcome, Keep)
    assert msgpack.unpackb(msgpack.packb(outcome.notes)) == outcome.notes
    assert (outcome.picture is None) == (outcome.media is None)
    assert outcome.picture is None or (isinstance(outcome.picture, bytes) and outcome.media.startswith("image/"))


def test_bounded(chain):
    """One megapixel is done in bounded time, and a picture is no larger than the pixels."""
    data = saved(pillow(scene(1200, 900)), "JPEG")
    began = time.monotonic()
    outcome, _ = run(chain, data)
    assert time.monotonic() - began < RUN_S_MAX
    assert isinstance(outcome, Discard) or len(outcome.picture or b"") < 1200 * 900 * 3


def test_the_bytes_are_left_alone(chain, photograph):
    """The image's bytes may lie in memory that is shared with another process: no filter may write to them."""
    copy = bytearray(photograph)
    run(chain, memoryview(copy))
    assert copy == photograph


@pytest.mark.parametrize("how", ["whole", *BROKEN])
def test_the_memory_is_let_go(chain, how):
    """After a job its memory is used for the next one: neither outcome nor error may hold on to it."""
    data = BROKEN[how] if how in BROKEN else saved(pillow(scene(400, 300)), "JPEG")
    view = memoryview(bytearray(data))
    run(chain, view)
    view.release()


def test_null_reads_nothing():
    """The null filter keeps an image by reference without reading it."""
    image = Image.lazy("file:///nowhere.jpg", lambda: pytest.fail("read"))
    assert Chain(parse_steps(["null"])).run(image) == Keep()
    assert not image.touched
