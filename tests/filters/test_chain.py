"""Chains: steps from text and back, filters in order, and no filter's fault is more than one image's."""

import subprocess
import sys
from typing import Annotated, Literal

import msgpack
import numpy as np
import pytest

from zgrid.errors import FilterError, SettingsError, SourceError
from zgrid.filters import Between, Chain, Discard, Fail, Image, Keep, Outcome, Step, parse_steps, registry
from zgrid.filters import filter as filter_

pytestmark = pytest.mark.usefixtures("own_filters")


def run(function, *more):
    """Run a chain of filters made of functions over an image."""
    names = []
    for number, each in enumerate((function, *more)):
        names.append(f"own{number}")
        filter_(names[-1], "1")(each)
    return Chain(parse_steps(names)).run(Image("test:", b"data"))


def returning(outcome):
    """Return a filter that says this of every image."""

    def function(image) -> Outcome:
        return outcome

    return function


def test_text_and_back():
    """Steps have one canonical text: options typed, in the order of their names."""
    steps = parse_steps(["faces:longest_px=480,score=.5", "highlight:colour=red,width_px=04"])
    assert steps[0] == Step("faces", {"longest_px": 480, "score": 0.5})
    assert " ".join(map(str, steps)) == "faces:longest_px=480,score=0.5 highlight:colour=red,width_px=4"
    assert parse_steps(str(step) for step in steps) == steps


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "at least one filter"),
        ([""], "is no filter"),
        (["two words"], "is no filter"),
        (["faces:"], "is no filter"),
        (["no-such"], "there is no filter 'no-such' here; the filters are: .*faces, highlight, .*null"),
        (["faces:score"], "is no option"),
        (["faces:score="], "is no option"),
        (["faces:score=.5,score=.6"], "given twice"),
        (["faces:scroe=.5"], "has no option 'scroe'; its options are: score, longest_px"),
        (["faces:score=high"], "filter faces: option score must be a number, not 'high'"),
        (["faces:score=nan"], "must be a number"),
        (["faces:score=2"], "must be between 0.05 and 1"),
        (["faces:longest_px=1.5"], "must be a whole number"),
        (["faces:longest_px=31"], "must be 0, or between 32 and 4096"),
        (["faces:engine=magic"], "must be one of auto, onnxruntime, opencv"),
        (["highlight:colour=rde"], "option colour must be the name of a colour"),
        (["highlight:quality=101"], "must be between 0 and 100"),
        (["null"] * 33, "32 filters"),
    ],
)
def test_what_cannot_work_is_a_settings_error(texts, why):
    """A slip is one sentence before the first image, not a failure of every one."""
    with pytest.raises(SettingsError, match=why):
        parse_steps(texts)


def test_unchecked_steps_may_be_unknown():
    """A ventilator takes filters that only workers have, but a bad option of one that it knows is still an error."""
    assert parse_steps(["theirs:depth=deep"], checked=False) == (Step("theirs", {"depth": "deep"}),)
    with pytest.raises(SettingsError, match="no option"):
        parse_steps(["faces:scroe=.5"], checked=False)


def test_a_chain_needs_filters_that_are_here():
    """A worker that is asked for a filter that it lacks says so in a sentence."""
    with pytest.raises(SettingsError, match="there is no filter 'theirs' here"):
        Chain(parse_steps(["theirs"], checked=False))
    with pytest.raises(SettingsError, match="at least one"):
        Chain(())


def test_reading_chains_does_not_load_opencv():
    """A ventilator that only passes the text of the default chain on stays small and starts at once."""
    code = (
        "import sys; from zgrid.filters import parse_steps, detector_name; parse_steps(['faces', 'highlight']);"
        "detector_name(); print([m for m in ('cv2', 'numpy', 'PIL', 'wand') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_notes_add_up_and_the_last_picture_counts():
    """Later filters see the notes of earlier ones; the final Keep has all of them."""
    seen = []

    def first(image) -> Outcome:
        return Keep({"a": 1, "b": 1}, b"first", "image/png")

    def second(image) -> Outcome:
        seen.append(dict(image.notes))
        return Keep({"b": 2}, b"second", "image/jpeg")

    def third(image) -> Outcome:
        return Keep()

    assert run(first, second, third) == Keep({"a": 1, "b": 2}, b"second", "image/jpeg")
    assert seen == [{"a": 1, "b": 1}]


@pytest.mark.parametrize("end", [Discard("not wanted"), Fail("broken"), Fail("away", transient=True)])
def test_discard_and_fail_end_the_chain(end):
    """What comes after them does not run."""
    ran = []
    assert run(returning(Keep({"a": 1})), returning(end), lambda _: ran.append(1)) == end
    assert ran == []


def raising(error):
    """Return a filter that raises."""

    def function(image) -> Outcome:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (FilterError("cut short"), Fail("cut short")),
        (ValueError("a\nb"), Fail("filter own0 failed: ValueError: a b")),
        (KeyError(), Fail("filter own0 failed: KeyError")),
        (RecursionError("deep"), Fail("filter own0 failed: RecursionError: deep")),
        (SourceError("gone"), Fail("gone")),
        (SourceError("away", transient=True), Fail("away", transient=True)),
        (MemoryError(), Fail("not enough memory for filter own0 on this image", transient=True)),
        (OSError("x" * 5000), Fail(("filter own0 failed: OSError: " + "x" * 5000)[:500])),
    ],
)
def test_whatever_is_raised_is_a_fail(error, wanted):
    """No exception of a filter ends the process; the reason is one line, and says which filter it was."""
    assert run(raising(error)) == wanted


def test_a_stop_is_not_swallowed():
    """Ctrl-C and sys.exit are not the image's fault."""
    with pytest.raises(KeyboardInterrupt):
        run(raising(KeyboardInterrupt()))


def deep(levels):
    """Return lists nested so deep."""
    return deep(levels - 1) if levels == 0 else [deep(levels - 1)] if levels > 1 else []


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (None, "returned NoneType instead of"),
        (b"picture", "returned bytes instead of"),
        (Keep({"score": np.float32(0.5)}), "notes may hold plain data only, not float32"),
        (Keep({"score": np.float64(0.5)}), "not float64"),
        (Keep({"at": (1, 2)}), "not tuple"),
        (Keep({"tags": {"a"}}), "not set"),
        (Keep({1: "a"}), "text for keys, not int"),
        (Keep({"n": 2**64}), "whole numbers of 64 bits"),
        (Keep({"deep": deep(20)}), "deep, not deeper"),
        (Keep([1]), "notes must be a dict, not list"),
    ],
)
def test_an_odd_answer_is_a_fail(returned, why):
    """What would fail later, when it is packed or stored, fails here with the filter's name."""
    outcome = run(returning(returned))
    assert isinstance(outcome, Fail)
    assert why in outcome.reason
    assert "own0" in outcome.reason


def test_plain_notes_survive_msgpack():
    """What the check lets through comes back from msgpack as it was."""
    notes = {"a": None, "b": [True, 2**64 - 1, -(2**63), 0.1, "ä", b"\xff", {"c": []}], "d": {"e": {"f": [[]]}}}
    outcome = run(returning(Keep(notes)))
    assert msgpack.unpackb(msgpack.packb(outcome.notes)) == notes


def test_options_reach_the_filter_typed():
    """Every kind of option is given to the function as its annotation says, defaults where none is given."""

    @filter_("own", "2")
    def own(
        image,
        *,
        on: bool = False,
        n: Annotated[int, Between(0, 9)] = 1,
        x: float = 0.5,
        word: str | None = None,
        mode: Literal["fast", "good"] = "good",
    ) -> Outcome:
        return Keep({"given": [on, n, x, word, mode]})

    chain = Chain(parse_steps(["own:on=yes,n=7,x=1,word=a:b=c,mode=fast"]))
    assert chain.run(Image("test:", b"")) == Keep({"given": [True, 7, 1.0, "a:b=c", "fast"]})
    assert (chain.text, chain.version) == ("own:mode=fast,n=7,on=true,word=a:b=c,x=1.0", "own/2")
    assert Chain(parse_steps(["own"])).run(Image("test:", b"")) == Keep({"given": [False, 1, 0.5, None, "good"]})
    for bad in ("own:on=perhaps", "own:mode=slow", "own:n=10"):
        with pytest.raises(SettingsError):
            parse_steps([bad])


def test_a_step_made_by_hand_is_checked_too():
    """Options that never were text are checked when the chain is made."""
    assert Chain((Step("faces", {"score": 1}),)).text == "faces:score=1.0"
    for options in ({"score": "high"}, {"score": True}, {"longest_px": 640.0}, {"no": 1}):
        with pytest.raises(SettingsError, match="filter faces"):
            Chain((Step("faces", options),))


@pytest.mark.parametrize(
    "signature", ["", "*, a: int = 1", "image, a=1", "image, *, a: int", "image, *, a=1", "image, *, a: list = None"]
)
def test_a_signature_that_cannot_be_a_filters_is_refused(signature):
    """The author learns it when the module is loaded, not with the first image."""
    space = {}
    exec(f"def function({signature}): pass", space)  # a filter is a function of any signature
    with pytest.raises(TypeError):
        filter_("own", "1")(space["function"])


def test_names_are_unique_and_plain():
    """Two filters of one name, or a name that chains cannot be written with, are refused."""
    for name, version in (("two words", "1"), ("a:b", "1"), ("", "1"), ("own", ""), ("own", "1 2"), ("null", "9")):
        with pytest.raises(TypeError):
            filter_(name, version)(returning(Keep()))


def test_a_filter_that_lacks_something_is_missing():
    """needs is asked once; its sentence, or what it raises, is the reason."""
    asked = []

    def lacking():
        asked.append(1)
        return "own needs a model"

    filter_("own", "1", needs=lacking)(returning(Keep()))
    filter_("worse", "1", needs=lambda: 1 / 0)(returning(Keep()))
    missing = registry.missing()
    assert missing["own"] == "own needs a model"
    assert missing["worse"] == "filter worse cannot run: ZeroDivisionError: division by zero"
    assert not {"own", "worse"} & set(registry.available())
    with pytest.raises(SettingsError, match="own needs a model"):
        Chain(parse_steps(["own"]))
    assert asked == [1]


def test_other_packages_filters(tmp_path):
    """An installed package's filter is found by its entry point; a broken one is one sentence and harms no other."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[zgrid.filters]\ngood = theirs:good\nbroken = theirs_broken:broken\nabsent = theirs:absent\n"
        "nofilter = theirs:plain\nnull = theirs:null\n"
    )
    (tmp_path / "theirs_broken.py").write_text("raise RuntimeError('no licence')\n")
    (tmp_path / "theirs.py").write_text(
        "from zgrid.filters import Image, Keep, Outcome, filter\n"
        "@filter('good', '3')\ndef good(image: Image, *, n: int = 1) -> Outcome:\n    return Keep({'n': n})\n"
        "def plain(image): pass\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from zgrid.filters import Chain, Image, available, missing, parse_steps\n"
        "print(Chain(parse_steps(['good:n=5'])).run(Image('x', b'')).notes, available()['good'])\n"
        "for name, why in missing().items(): print(name, '|', why)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *rest = done.stdout.splitlines()
    assert first == "{'n': 5} 3"
    said = dict(line.split(" | ") for line in rest)
    assert "null" not in said, "the entry point of another package took the place of ours"
    assert said["broken"] == "filter broken cannot be loaded: RuntimeError: no licence"
    assert "AttributeError" in said["absent"]
    assert said["nofilter"] == "filter nofilter cannot be loaded: theirs:plain registers no filter nofilter"
