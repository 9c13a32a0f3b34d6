"""``zgrid run``: everything on this machine with one command."""

import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from contextlib import ExitStack
from pathlib import Path

import photographs
import pytest
import small_disks
from harness import free_port, query, words_of

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

ASKED = """
from zgrid.filters import Fail, Keep, filter

@filter("asked", version="1")
def asked(image):
    return {}
"""

IMPATIENT = """
from zgrid.cli import main
from zgrid.roles import run

run.SINK_S_MAX = 2.0
main()
"""
"""A run that waits no minute for its sink."""


def places(grid):
    """Return a run's ledger, database and folder of pictures."""
    out = grid.folder / "out"
    return out / "ledger.sqlite", out / "results.sqlite", out / "pictures"


def test_run_does_everything_and_then_nothing(grid, album):
    """A run stores all photographs with faces and ends with 0 and a summary; the next finds nothing new."""
    grid.environment["ZGRID_METRICS"] = f"127.0.0.1:{free_port()}"  # of services: three processes cannot share it
    run = grid.run(album)
    assert run.wait() == 0
    ledger, database, pictures = places(grid)
    counts = grid.counts(ledger)
    rows = grid.rows(database)
    said = run.popen.stdout.read()
    assert counts[State.STORED] + counts[State.DISCARDED] == 24
    assert len(rows) == counts[State.STORED] > 0
    assert {picture for _, picture in rows.values()} == grid.pictures(pictures)
    faces = sum(map(len, grid.boxes(database).values()))
    assert re.match(r"24 images, 24 new, in .* images/s\n", said)
    assert f"{counts[State.STORED]} stored, {counts[State.DISCARDED]} discarded, 0 buried" in said
    assert f"{faces} new faces" in said
    assert str(database) in said
    assert "\x1b" not in said

    again = grid.restart("run")
    assert again.wait() == 0
    assert "24 images, nothing new" in again.popen.stdout.read()
    assert (grid.counts(ledger), grid.rows(database)) == (counts, rows)


def test_run_with_buried_images_says_so(grid, tmp_path):
    """A run in which something was buried ends with 3 and names it with its reason."""
    photographs.tiny(tmp_path / "in", 3)
    photographs.tiny(tmp_path / "in", 1, "fail this will not do", name="bad")
    run = grid.run(tmp_path / "in", filter=["marked"], filter_module=["filters_for_tests"])
    assert run.wait() == 3
    said = run.popen.stdout.read()
    assert "3 stored, 0 discarded, 1 buried" in said
    assert re.search(r"buried: .*bad-00000.jpg: this will not do", said)


def test_a_broken_image_that_was_replaced_is_buried_no_more(grid, tmp_path):
    """What the file holds now is done, so nothing is left to be looked at."""
    photographs.tiny(tmp_path / "in", 1)
    photographs.tiny(tmp_path / "in", 1, "fail this will not do", name="bad")
    assert grid.run(tmp_path / "in", filter=["marked"], filter_module=["filters_for_tests"]).wait() == 3
    photographs.tiny(tmp_path / "in", 1, "picture 2000", name="bad")
    run = grid.restart("run")
    assert run.wait() == 0
    assert "2 stored, 0 discarded, 0 buried" in run.popen.stdout.read()
    assert grid.counts(places(grid)[0])[State.CANCELLED] == 1


def test_what_is_buried_is_tried_again_when_that_is_asked(grid, tmp_path):
    """Once a cause is gone, another run leaves the buried as they are and names the option that does them."""
    photographs.tiny(tmp_path / "in", 1)
    photographs.tiny(tmp_path / "in", 2, name="bad")
    (tmp_path / "asked.py").write_text(ASKED.format("Fail('not yet') if '/bad-' in image.uri else Keep()"))
    module = {"filter": ["asked"], "filter_module": ["asked"]}
    assert grid.run(tmp_path / "in", **module).wait() == 3
    (tmp_path / "asked.py").write_text(ASKED.format("Keep()  # by now"))
    run = grid.restart("run")
    assert run.wait() == 3
    said = run.popen.stdout.read()
    assert "nothing new" in said
    assert "to try again what is buried: the same command with --retry-buried\n" in said
    run = grid.run(tmp_path / "in", name="last", retry_buried=True, **module)
    assert run.wait() == 0
    said = run.popen.stdout.read()
    assert "3 images, 2 new" in said
    assert "3 stored, 0 discarded, 0 buried" in said
    assert "--retry-buried" not in said
    kicked = [one for one in grid.history(places(grid)[0]) if one.event == "kicked"]
    assert [(len(one.seqs), one.note) for one in kicked] == [(2, "--retry-buried")]


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        (
            "from zgrid.filters import filter\n@filter('faces', version='1')\ndef mine(image): return image",
            "TypeError: two filters are called faces: zgrid.filters.faces and broken",
        ),
    ],
    ids=["syntax", "missing", "exit", "twice"],
)
def test_a_module_of_filters_that_cannot_be_imported_ends_it(grid, tmp_path, module, error):
    """The run ends with 2 and the module's error, instead of waiting for a worker that will never be."""
    photographs.tiny(tmp_path / "in", 1)
    (tmp_path / "broken.py").write_text(module + "\n")
    grid.expected = ["broken cannot be imported"]
    run = grid.run(tmp_path / "in", filter=["null"], filter_module=["broken"], procs=2)
    assert run.wait() == 2
    sentence = f"zgrid: --filter-module broken cannot be imported: {error}: mend it; the log has the traceback"
    assert run.said() == [sentence]


def test_interrupted_run_goes_on_at_the_next(grid, tmp_path):
    """Ctrl-C finishes what has begun, says how much is left, and ends with 130; the same command does the rest."""
    photographs.tiny(tmp_path / "in", 100)
    run = grid.run(tmp_path / "in", filter=["marked:work_ms=30"], filter_module=["filters_for_tests"], procs=1)
    ledger, database, _ = places(grid)
    grid.until(lambda: grid.counts(ledger)[State.STORED] >= 5, what="some are stored")
    assert run.kill(signal.SIGINT) == 130
    counts = grid.counts(ledger)
    assert counts[State.READY] > 0
    said = run.popen.stdout.read()
    assert f"stopped with {counts[State.READY]} images to go" in said
    assert not grid.until_gone()
    # What was begun is done: nothing was sent and neither stored nor handed back.
    assert not query(ledger, "SELECT seq FROM jobs WHERE failures > 0")
    assert len(grid.rows(database)) == counts[State.STORED]

    assert grid.restart("run").wait() == 0
    assert grid.counts(ledger)[State.STORED] == 100
    assert len(grid.rows(database)) == 100


def test_told_twice_to_stop_it_stops_at_once(grid, tmp_path):
    """The first Ctrl-C waits for what has begun, and says so; the second does not, and nothing is lost or left."""
    photographs.tiny(tmp_path / "in", 3)
    run = grid.run(tmp_path / "in", filter=["marked:work_ms=100000"], filter_module=["filters_for_tests"], procs=1)
    ledger = places(grid)[0]
    grid.until(
        lambda: ledger.exists() and query(ledger, "SELECT 1 FROM history WHERE event = 'sent'"), what="one is sent"
    )
    run.popen.send_signal(signal.SIGINT)
    assert run.popen.stdout.readline() == "finishing what has begun; Ctrl-C again stops at once\n"
    assert run.kill(signal.SIGINT) == 130
    assert "stopped with 3 images to go" in run.popen.stdout.read()
    assert not grid.until_gone()


def test_stopped_before_it_had_searched_says_so(grid):
    """A run that is told to stop while images may still be found says that, and ends with the signal's status."""
    run = grid.start("run", "run", ["-", "--filter=null", f"--out={grid.folder}/out"], subprocess.PIPE)
    grid.until(lambda: run.children() and places(grid)[0].exists(), what="it has begun")
    assert run.kill(signal.SIGTERM) == 143
    assert "stopped with 0 images to go, and more may be found: the same" in run.popen.stdout.read()
    assert not grid.until_gone()


@pytest.fixture
def short_folder():
    """Yield a folder whose path leaves room for the names of sockets, which that of a test does not always."""
    with tempfile.TemporaryDirectory(prefix="zgrid-") as folder:
        yield Path(folder)


def terminal_closed(grid, tmp_path, short_folder, images, at_hangup, *, on_terminal=False):
    """Start a run with a terminal of its own and close that when some images are stored; return status and words.

    ``at_hangup``: what SIGHUP does in the run, whatever it does in ours. ``on_terminal``: it writes there, too.
    """
    photographs.tiny(tmp_path / "in", images)
    grid.environment["TMPDIR"] = str(short_folder)
    settings = {"filter": ["marked:work_ms=30"], "filter_module": ["filters_for_tests"], "procs": 1}
    words = words_of({**settings, "out": grid.folder / "out"}, [tmp_path / "in"])
    ours, theirs = pty.openpty()

    def prepare():
        signal.signal(signal.SIGHUP, at_hangup)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        [sys.executable, *grid.program, "run", *words], env=grid.environment, cwd=grid.folder, start_new_session=True,
        stdin=theirs, stdout=theirs if on_terminal else subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=prepare,  # noqa: PLW1509  no thread holds a lock
    ) as run:  # fmt: skip
        os.close(theirs)
        ledger = places(grid)[0]
        grid.until(lambda: grid.counts(ledger)[State.STORED] >= 5, what="some are stored")
        os.close(ours)
        said, complaints = run.communicate(timeout=30)
    return run.returncode, said, complaints


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_terminal_that_is_closed_stops_it_in_order(grid, tmp_path, short_folder, on_terminal):
    """SIGHUP stops a run as Ctrl-C does, also where every further word to its terminal fails."""
    status, said, complaints = terminal_closed(
        grid, tmp_path, short_folder, 200, signal.SIG_DFL, on_terminal=on_terminal
    )
    ledger, database, _ = places(grid)
    counts = grid.counts(ledger)
    assert (status, complaints) == (129, "")
    assert on_terminal or f"stopped with {counts[State.READY]} images to go" in said
    assert not grid.until_gone()
    assert not list(short_folder.iterdir())
    assert len(grid.rows(database)) == counts[State.STORED]
    assert not query(ledger, "SELECT seq FROM jobs WHERE failures > 0")


def test_nohup_is_respected(grid, tmp_path, short_folder):
    """A run that was started with nohup goes on when its terminal is closed."""
    status, _, complaints = terminal_closed(grid, tmp_path, short_folder, 60, signal.SIG_IGN)
    assert (status, complaints) == (0, "")
    assert grid.counts(places(grid)[0])[State.STORED] == 60


def test_killed_run_leaves_no_process(grid, tmp_path):
    """After kill -9 of a run its processes end by themselves, and the next run does the rest."""
    photographs.tiny(tmp_path / "in", 70)
    run = grid.run(tmp_path / "in", filter=["marked:work_ms=30"], filter_module=["filters_for_tests"])
    ledger, database, _ = places(grid)
    grid.until(lambda: grid.counts(ledger)[State.STORED] >= 5, what="some are stored")
    run.kill()
    assert not grid.until_gone()
    assert grid.restart("run").wait() == 0
    assert len(grid.rows(database)) == 70


def test_members_that_die_are_started_again(grid, tmp_path):
    """Each process of a run may be killed: the run starts it again and ends as if nothing had been."""
    photographs.tiny(tmp_path / "in", 150)
    run = grid.run(tmp_path / "in", filter=["marked:work_ms=30"], filter_module=["filters_for_tests"])
    ledger, database, _ = places(grid)
    for number, role in enumerate(("worker", "sink", "ventilator")):
        enough = 10 + 30 * number
        grid.until(lambda enough=enough: grid.counts(ledger)[State.STORED] >= enough, what=f"{enough} are stored")
        grid.signal_member(run, role)
    assert run.wait() == 0
    assert len(grid.rows(database)) == 150
    assert "150 images, 150 new" in run.popen.stdout.read()


def test_a_short_run_tells_what_it_passed_over(grid, tmp_path):
    """However soon a run ends, its summary counts what was no image, and names what could not be looked at."""
    photographs.tiny(tmp_path / "in", 1)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    for new in ("1 new", "nothing new"):
        run = grid.run(tmp_path / "in", filter=["null"]) if new == "1 new" else grid.restart("run")
        assert run.wait() == 3
        said = run.popen.stdout.read()
        assert f"1 image, {new}" in said
        assert "1 file passed over: no image, 1 could not be read" in said
        assert f"not read: file://{tmp_path}/in/gone.jpg does not exist" in said


def test_a_summary_says_what_it_leaves_out(grid, tmp_path):
    """Of many that were buried or not read it names some, and says how many more there are and what shows them."""
    photographs.tiny(tmp_path / "in", 12, "fail this will not do", name="bad")
    for number in range(13):
        (tmp_path / "in" / f"gone-{number}.jpg").symlink_to("nowhere")
    run = grid.run(tmp_path / "in", filter=["marked"], filter_module=["filters_for_tests"])
    assert run.wait() == 3
    said = run.popen.stdout.read()
    assert said.count("  buried: file://") == said.count("  not read: file://") == 10
    for lead, left, names in (("buried: and 2 more", 12, r"bad-\d+"), ("not read: and 3 more", 13, r"gone-\d+")):
        command = re.search(rf"^  {lead}: zgrid (logs .*)$", said, re.MULTILINE)[1]
        shown = subprocess.run(
            [sys.executable, *grid.program, *command.split()], check=True, capture_output=True, text=True, timeout=30
        ).stdout
        assert len(set(re.findall(names, shown))) == left


def test_another_chain_is_told(grid, tmp_path):
    """What other filters have settled is not done again, and the summary says so; with the first ones it does not."""
    photographs.tiny(tmp_path / "in", 3)
    settings = {"filter_module": ["filters_for_tests"], "filter": ["marked:work_ms=1"]}
    for name, chain, note in (
        ("first", ["null"], ""),
        ("other", settings["filter"], "(null): another --out does them with this one (marked:work_ms=1)"),
        ("again", ["null"], ""),
    ):
        run = grid.run(tmp_path / "in", name=name, **{**settings, "filter": chain})
        assert run.wait() == 0
        notes = [line for line in run.popen.stdout.read().splitlines() if "another chain" in line]
        assert notes == [f"note: 3 images here were settled with another chain {note}"] * bool(note)


def test_files_where_it_is_started_hide_no_library(grid, tmp_path):
    """A run from a folder with a file called like a module of Python's is a run like any other."""
    photographs.tiny(tmp_path / "in", 1)
    (tmp_path / "queue.py").write_text("raise RuntimeError('not the library')")
    done = subprocess.run(
        [Path(sys.executable).with_name("zgrid"), "run", "in", "--out", "out", "--filter=null"],
        check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 image, 1 new" in done.stdout


@pytest.mark.parametrize(
    ("chain", "problem"),
    [("markt", "there is no filter 'markt' here"), ("marked:wok_ms=1", "filter marked has no option 'wok_ms'")],
)
def test_a_chain_that_no_child_can_run_is_refused(grid, tmp_path, chain, problem):
    """With a module of a user's own, too, a mistyped chain is a sentence, and no image is accepted for it."""
    photographs.tiny(tmp_path / "in", 3)
    grid.expected = ["zgrid: "]
    run = grid.run(tmp_path / "in", filter=[chain], filter_module=["filters_for_tests"])
    assert run.wait() == 2
    (sentence,) = run.said()
    assert sentence.startswith(f"zgrid: {problem}")
    assert "(with --filter-module filters_for_tests)" in sentence
    assert not places(grid)[0].exists(), "there is no ledger yet, so nothing in it that would wait for ever"


def test_a_short_time_to_run_is_taken(grid, tmp_path):
    """Images may have less time than the worker's window is long, of which a run has no option."""
    photographs.tiny(tmp_path / "in", 3)
    run = grid.run(tmp_path / "in", filter=["null"], ttr_ms=99)
    assert run.wait() == 0
    assert "3 stored" in run.popen.stdout.read()


def test_a_sink_that_cannot_start_is_told_when_nothing_is_new(grid, tmp_path):
    """A damaged database ends the run with the sink's sentence, though there is nothing to be stored in it."""
    photographs.tiny(tmp_path / "in", 3)
    assert grid.run(tmp_path / "in", filter=["null"]).wait() == 0
    _, database, _ = places(grid)
    database.write_bytes(b"no database" * 1000)
    grid.expected = ["is damaged, or no SQLite database"]
    run = grid.restart("run")
    assert run.wait() == 2
    assert [line.startswith(f"zgrid: {database} is damaged") for line in run.said()] == [True]


def test_a_sink_that_says_nothing_is_not_awaited_for_ever(grid, tmp_path):
    """Where nothing is new, the sink has a time to answer in; then the run ends and names the sink's log."""
    photographs.tiny(tmp_path / "in", 3)
    assert grid.run(tmp_path / "in", filter=["null"]).wait() == 0
    grid.program = ("-c", IMPATIENT)
    grid.expected = ["the sink does not answer"]
    run = grid.restart("run")
    grid.until(lambda: grid.member(run, "sink"), what="the sink is being started")
    grid.signal_member(run, "sink", signal.SIGSTOP)
    assert run.wait() == 1
    log = grid.folder / "out" / "logs" / "sink.jsonl"
    assert [line for line in run.said() if "zgrid: " in line] == [f"zgrid: the sink does not answer: see {log}"]


def test_results_that_were_removed_are_told(grid, tmp_path):
    """Where the database or the pictures of an earlier run are gone, the summary says so."""
    photographs.tiny(tmp_path / "in", 3)
    assert grid.run(tmp_path / "in", filter=["null"]).wait() == 0
    _, database, pictures = places(grid)
    database.unlink()
    shutil.rmtree(pictures)
    run = grid.restart("run")
    assert run.wait() == 0
    said = run.popen.stdout.read()
    for lost in (database, pictures):
        assert f"note: {lost} was gone, and with it what was stored of 3 images: put a copy back" in said


@pytest.mark.parametrize(
    ("out", "temporary", "said"),
    [
        ("a?b", "t", "the URL of a database can have no ? and no %: name another folder"),
        ("a%20b", "t", "the URL of a database can have no ? and no %: name another folder"),
        ("out", "t" * 100, "is too long for sockets: set TMPDIR to another"),
    ],
)
def test_places_that_cannot_work_are_refused(tmp_path, out, temporary, said):
    """A folder whose database or sockets could have no address is wrong usage, and not a fault of ours."""
    photographs.tiny(tmp_path / "in", 1)
    (tmp_path / temporary).mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / temporary)}
    done = subprocess.run(
        [Path(sys.executable).with_name("zgrid"), "run", "in", "--out", out, "--filter=null"], check=False,
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"zgrid: .*{re.escape(said)}\n", done.stderr)
    assert not list((tmp_path / temporary).iterdir())


def test_a_full_disk_is_told(tmp_path):
    """Where there is not even room for a ledger, a run says that in one sentence."""
    photographs.tiny(tmp_path / "in", 1)
    with ExitStack() as stack:
        small_disks.Disks(stack).small(tmp_path / "small", 4096)
        done = subprocess.run(
            [Path(sys.executable).with_name("zgrid"), "run", "in", "--out", "small/out"],
            check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"zgrid: no space is left for .*: free some on its disk, which is full\n", done.stderr)
