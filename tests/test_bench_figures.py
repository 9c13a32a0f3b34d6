"""The pure parts of scripts/bench: statistics, tables, the file of results, and the picture. No timing is asserted."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from bench_figures import Figure, Goal, Results, in_page, load, percentile, shown, shown_ratio, tables  # noqa: E402
from bench_page import MARK, PICTURE, SHOWN  # noqa: E402
from bench_svg import NAME_WIDTH, VALUE_WIDTH, WIDTH, panels, scale, svg  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def figure(**changes):
    """Return a figure of the grid, with some of it changed."""
    given = {"section": "grid", "name": "reference", "what": "null", "unit": "jobs/s", "ours": (50.0, 30.0, 40.0),
             "beside": "bare", "theirs": (100.0, 30.0, 50.0), "goal": Goal(1.0)}  # fmt: skip
    return Figure(**{**given, **changes})


def peer(beside, theirs=(10.0,), **changes):
    """Return a figure of a peer."""
    return figure(section="peers", name="folder", what="by reference", beside=beside, theirs=theirs,
                  ours=(400.0,) * len(theirs), goal=None, note="nothing", our_note="everything", **changes)  # fmt: skip


@pytest.fixture
def results():
    """Results with something in every section, and a peer that could not be measured."""
    return Results(
        {"cores": 2},
        [
            figure(),
            figure(name="folder", what="found", theirs=(5000.0,), beside="bare PUSH/PULL", goal=None),
            figure(what="memory", unit="MB", theirs=(), ours=(299.0,), goal=Goal(300, at_least=False, of_ratio=False)),
            peer("Dask", (16.0,)),
            peer("beanstalkd", (20.0,)),
            peer("Par|sl", (), error="no <network>"),
            figure(section="pictures", what="1 MP", unit="ms", ours=(10.0, 8.0), theirs=(150.0, 160.0),
                   goal=Goal(10.0), less_is_faster=True, beside="tutorial"),
        ],
    )  # fmt: skip


def test_ratio_is_of_pairs():
    """What is measured in turn is compared in turn, so that a machine that slows down spoils nothing."""
    assert figure().ratio == 0.8  # 0.5, 1.0, 0.8
    assert figure(less_is_faster=True).ratio == 1.25  # 2.0, 1.0, 1.25
    assert figure(theirs=(80.0,)).ratio == 0.5  # not as many: of the medians
    assert figure(theirs=()).ratio is None
    assert figure(ours=()).ratio is None
    assert figure(theirs=(1.0, 0.0, 1.0)).ratio is None


def test_goals():
    """A goal bounds the ratio or the value, from below or from above; where nothing was measured it is open."""
    assert figure().is_met is False
    assert figure(goal=Goal(0.8)).is_met is True
    assert figure(goal=Goal(0.8, at_least=False)).is_met is True
    assert figure(goal=Goal(40, at_least=False, of_ratio=False)).is_met is True
    assert figure(goal=Goal(41, of_ratio=False)).is_met is False
    assert figure(goal=None).is_met is None
    assert figure(ours=(), theirs=()).is_met is None
    assert [str(Goal(1.0)), str(Goal(1.05, at_least=False)), str(Goal(40, False, False))] == [
        ">= 1 x",
        "<= 1.05 x",
        "<= 40",
    ]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.995, 100), (1.0, 100)])
def test_percentile(share, expected):
    """It is a value that was measured, the smallest that enough of them do not exceed."""
    assert percentile(range(100, 0, -1), share) == expected
    assert percentile([7.0], share) == 7.0


def test_how_numbers_are_shown():
    """With as many digits as they are worth."""
    assert [shown(1234.4, "jobs/s"), shown(9.44, "MB/s"), shown(7.25, "ms")] == ["1,234 jobs/s", "9.4 MB/s", "7.2 ms"]
    assert [shown_ratio(value) for value in (None, 0.5234, 1.0571, 3.456, 41.7, 1234.5)] == [
        "", "0.52", "1.057", "3.46", "42", "1,234",
    ]  # fmt: skip


def test_tables(results):
    """Every figure has its row, a goal that is missed says so, and so does a peer that was not measured."""
    rows = [line for line in tables(results).splitlines() if line.startswith("|")]
    assert "| null | 40 jobs/s | bare 50 jobs/s | 0.80 | >= 1 x | **no** |" in rows
    assert "| memory | 299 MB |  |  | <= 300 | yes |" in rows
    assert "| zgrid | 400 jobs/s |  | everything |" in rows
    assert "| Dask | 16.0 jobs/s | 25 x | nothing |" in rows
    assert "| Par\\|sl | not measured: no <network> |  | nothing |" in rows
    assert "| 1 MP | 9.0 ms | tutorial 155.0 ms | 18 | >= 10 x | yes |" in rows
    for table in tables(results).strip().split("\n\n"):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1, table


def test_table_of_accuracy():
    """Shares have no ratio, but their goal."""
    right = figure(section="accuracy", what="F1", unit="share", ours=(0.94,), theirs=(0.64,), beside="tutorial",
                   goal=Goal(0.89, of_ratio=False))  # fmt: skip
    assert "| F1 | 0.940 | tutorial 0.640 | >= 0.89 | yes |" in tables(Results({}, [right]))


def test_table_of_what_failed():
    """A measurement that could not be made keeps its row, with the reason."""
    failed = figure(ours=(), theirs=(), error="give a folder with --photos")
    assert "| null | not measured: give a folder with --photos |  |  | >= 1 x |  |" in tables(Results({}, [failed]))


def test_results_survive_their_file(results, tmp_path):
    """What is read is what was written; anything else is refused with its name."""
    results.save(tmp_path / "all.json")
    assert load(tmp_path / "all.json") == results
    for text in ("{}", "[]", "not JSON", '{"version": 0}', '{"version": 1, "machine": {}, "figures": [{}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json"):
            load(tmp_path / "bad.json")


def test_results_of_several_runs(results):
    """A later run's figures take the place of an earlier one's, and the others stay."""
    results.take(Results({"cores": 4}, [figure(ours=(7.0,), theirs=(7.0,)), peer("Celery")]))
    assert results.machine == {"cores": 4}
    assert len(results.figures) == 8
    assert results.figures[0].ours == (7.0,)
    assert results.figures[1].beside == "Celery", "what is new stands behind what was measured before it"


def test_page():
    """Only what stands between the marks is replaced; a page without them is refused."""
    page = "a\n<!-- x -->\nold \\1\n<!-- end of x -->\nb\n"
    once = in_page(page, "new \\1\n", "x")
    assert once == "a\n<!-- x -->\n\nnew \\1\n\n<!-- end of x -->\nb\n"
    assert in_page(once, "new \\1\n", "x") == once
    with pytest.raises(ValueError, match="<!-- y -->"):
        in_page(page, "new", "y")


@pytest.mark.parametrize("values", [[1.0], [10.0], [0.02, 5.0], [309.0, 42_000.0], [1.0, 1000.0], [999.9, 1000.1]])
def test_scale(values):
    """Every bar has a length, and none is longer than the scale."""
    low, high = scale(values)
    assert low < high
    assert all(10**low < value <= 10**high for value in values)


def test_picture(results):
    """It is whole, names everybody who was measured, and keeps each bar between its name and its figure."""
    million = replace(peer("none"), ours=(150_000.0,))
    assert ">1,000,000</text>" in svg(Results({}, [million])), "a scale is in people's numbers"
    root = ET.fromstring(svg(results))
    assert (root.tag, root.get("viewBox").split()[2]) == (f"{SVG}svg", str(WIDTH))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for name in ("zgrid", "bare PUSH/PULL (nothing kept)", "Dask", "beanstalkd", "tutorial", "16.0 jobs/s: zgrid 25 x"):
        assert name in texts
    assert "Par|sl" not in texts  # there is nothing to draw
    bars = [element for element in root.iter(f"{SVG}rect") if element.get("class") in {"ours", "theirs"}]
    assert len(bars) == sum(len(panel.bars) for panel in panels(results)) == 6
    for bar in bars:
        assert 0 < float(bar.get("width")) <= WIDTH - NAME_WIDTH - VALUE_WIDTH
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_picture_is_ordered(results):
    """zgrid stands first, then the bare pipeline, then the others, the quickest first."""
    assert [bar.name for bar in panels(results)[0].bars] == [
        "zgrid", "bare PUSH/PULL (nothing kept)", "beanstalkd", "Dask",
    ]  # fmt: skip


def test_nothing_to_draw():
    """Where nothing was measured beside others, it says what to measure."""
    with pytest.raises(ValueError, match="--peers"):
        svg(Results({}, [figure()]))


def bench(*words):
    """Run scripts/bench as people do."""
    command = [sys.executable, str(ROOT / "scripts" / "bench"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_drawn_again_without_measuring(results, tmp_path):
    """From a file of figures the tables are printed and the picture is drawn, and nothing else is done."""
    results.machine |= {"processor": "abacus", "python": "3.14", "repeat": 3}
    results.save(tmp_path / "all.json")
    done = bench("--from", str(tmp_path / "all.json"), "--svg", str(tmp_path / "all.svg"))
    assert (done.returncode, done.stderr) == (0, "")
    assert tables(results) in done.stdout
    assert (tmp_path / "all.svg").read_text() == svg(results)


@pytest.mark.parametrize(
    "words", [["no-such"], ["--repeat", "0"], ["--from", "/no/such.json"], ["depth", "--deep", "9"]]
)
def test_wrong_usage_is_one_sentence(words):
    """It says what is wrong, without a traceback, before anything is measured."""
    done = bench(*words)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert "bench: " in done.stderr.splitlines()[-1]


def test_readme_has_a_place_for_figures():
    """The marks that --readme writes between are in README, and what it shows there is the picture that it draws."""
    written = in_page((ROOT / "README.md").read_text(), SHOWN, MARK)
    assert f"]({PICTURE.relative_to(ROOT)})" in written
