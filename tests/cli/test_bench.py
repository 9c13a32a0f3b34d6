"""zgrid bench: what this machine does with pictures, for people and for programs, without a grid."""

import json
import os
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from zgrid.cli.bench import link_told
from zgrid.roles.measure import STAGES, Report, sample

SHORT = ("--seconds", "0.5", "--images", "4", "--procs", "2")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with three photographs' worth of noise, one broken picture, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (300 + 10 * number, 400, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.jpg"), pixels)
    whole = (folder / "0.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no picture")
    return folder


def bench(*words, folder=None):
    """Run the command as people do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZGRID_")}
    return subprocess.run(
        [sys.executable, "-m", "zgrid", "bench", *words],
        capture_output=True, text=True, check=False, timeout=120, cwd=folder, env=environment,
    )  # fmt: skip


def test_for_people(pictures):
    """The table has every stage, this machine's cores and several machines, and says what failed and why."""
    done = bench(str(pictures), "--seconds", "30", "--procs", "1", "--machines", "7")
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        *STAGES,
        "one core",
        "this machine, 1 core",
        "7 such machines",
        "cut short",
        "megapixels",
        "gigabit",
    ):
        assert words in done.stdout, done.stdout


def test_for_programs(pictures):
    """JSON has the same figures, and they fit together."""
    done = bench(str(pictures), *SHORT, "--json", "--filter", "faces", folder=pictures)
    told = json.loads(done.stdout)
    assert told["found"] == 4
    assert told["formats"]["JPEG"] == told["measured"]
    assert told["outcomes"].keys() <= {"kept", "discarded", "failed"}
    assert told["chain"] == "faces"
    assert told["ms"] == pytest.approx(sum(told["stages_ms"].values()), rel=0.1)
    assert told["machines_per_s"] == pytest.approx(10 * told["machine_per_s"])
    assert 0 < told["had"] <= 1
    assert told["stages_ms"]["draw"] == 0


def test_a_chain_that_looks_for_no_faces(pictures):
    """What finds faces, and how that could be quicker, is told only where the chain looks for some."""
    done = bench(str(pictures), *SHORT, "--filter", "null", "--machines", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "faces by" not in done.stdout
    assert "quicker or better" not in done.stdout
    assert "such machines  " not in done.stdout
    assert "4 pictures say little" in done.stdout


@pytest.mark.parametrize(("machines", "said"), [(2, "enough for 3 such machines"), (4, "--by-reference")])
def test_what_a_link_means(machines, said):
    """A link that is enough says for how many machines; one that is not says what to do."""
    assert said in link_told(report(machine_per_s=10.0, megabytes=3.9), machines)


def test_the_folder_one_stands_in(pictures):
    """Without a source, the pictures are those of the current folder."""
    assert json.loads(bench(*SHORT, "--json", folder=pictures).stdout)["found"] == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["notes.txt"], "there is no image in notes.txt"),
        ([".", "--filter", "no-such"], "there is no filter 'no-such' here"),
        ([".", "--seconds", "0"], "--seconds"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(pictures, words, said):
    """Wrong usage ends with status 2 and a sentence, without a traceback."""
    done = bench(*words, folder=pictures)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_archive_is_a_source(pictures, tmp_path):
    """Pictures in a zip are read where they lie."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(pictures.glob("?.jpg")):
            archive.write(path, path.name)
    assert json.loads(bench(str(tmp_path / "all.zip"), *SHORT, "--json").stdout)["found"] == 3


def test_a_sample_is_even_and_the_same_each_time(tmp_path):
    """Of many pictures some are taken from everywhere, always the same."""
    buffer = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for number in range(200):
        (tmp_path / f"{number:03d}.jpg").write_bytes(buffer)
    taken, found, found_all = sample([str(tmp_path)], 50)
    assert (len(taken), len(set(taken)), found, found_all) == (50, 50, 200, True)
    assert taken == sample([str(tmp_path)], 50)[0]
    numbers = [int(uri[-7:-4]) for uri in taken]
    assert 5 < sum(number < 50 for number in numbers) < 25


def test_a_link_has_a_limit():
    """What a gigabit carries is told in pictures."""
    one = report(machine_per_s=150.0, megabytes=3.9)
    assert one.link_per_s == pytest.approx(30.0)
    assert one.machines_per_s(10) == 1500.0
    assert json.loads(json.dumps(one.as_data()))["link_per_s"] == one.link_per_s


def report(**figures):
    """Return a report with these figures."""
    empty = {"formats": {}, "outcomes": {}, "reasons": [], "stages_ms": {}, "advice": None}
    return Report(
        found=1, found_all=True, measured=1, chain="faces", detector="d", engine="e", faces=0, megapixels=12.0,
        ms=50.0, ms_p95=60.0, cores=8, core_per_s=20.0, had=1.0, **empty, **figures,
    )  # fmt: skip
