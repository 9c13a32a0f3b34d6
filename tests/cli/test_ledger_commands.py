"""zgrid ledger check, repair, prune: what is said, and how they end."""

import json
import time

import pytest

from zgrid.cli import status_of
from zgrid.protocol.job import Offer, State
from zgrid.store.ledger import Ledger

DAY_MS = 86_400_000


@pytest.fixture
def zgrid_says(capsys):
    """Run the command line here; return status, standard output and standard error."""

    def say(*words):
        status = status_of([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return say


@pytest.fixture
def file(tmp_path):
    """Return a ledger's file: three jobs settled 40 days ago, one now, and one open."""
    path = tmp_path / "ledger of mine.sqlite"
    now_ms = time.time_ns() // 1_000_000
    ledger = Ledger(path)
    offers = [Offer(f"file:///{number}.jpg", number, number) for number in range(1, 6)]
    ledger.accept(offers, ledger.chain_id("null"), 1)
    ledger.record("accepted", range(1, 6), 1)
    ledger.settle([1, 2], State.STORED, now_ms - 40 * DAY_MS)
    ledger.settle([3], State.DISCARDED, now_ms - 40 * DAY_MS, "dull")
    ledger.settle([4], State.STORED, now_ms)
    ledger.commit()
    ledger.close()
    return path


@pytest.mark.parametrize("command", ["check", "repair", "prune"])
def test_help_is_worth_reading(zgrid_says, command):
    """Each command says what it is for and has an example that stands on a line of its own."""
    status, out, err = zgrid_says("ledger", command, "--help")
    assert (status, err) == (0, "")
    assert f"\n    zgrid ledger {command} " in out
    assert command in zgrid_says("ledger", "--help")[1]


def test_check_of_a_sound_ledger(zgrid_says, file):
    """It says so and ends with 0, for people and for programs."""
    assert zgrid_says("ledger", "check", file) == (0, f"{file} is sound\n", "")
    status, out, _ = zgrid_says("ledger", "check", file, "--json")
    assert (status, json.loads(out)) == (0, {"file": str(file), "sound": True, "found": []})
    assert zgrid_says("ledger", "repair", file) == (0, "nothing is wrong with it: it is left as it is\n", "")


def test_damaged_ledger_is_checked_and_repaired(zgrid_says, file):
    """The check ends with 2 and names the repair; the repair says what it saved; then the check ends with 0."""
    file.write_bytes(bytes(100) + file.read_bytes()[100:])
    status, out, err = zgrid_says("ledger", "check", file)
    assert (status, err) == (2, "")
    assert out.splitlines()[0] == "wrong: its header is overwritten"
    assert "zgrid ledger repair FILE" in out
    assert json.loads(zgrid_says("ledger", "check", file, "--json")[1])["sound"] is False
    status, out, err = zgrid_says("ledger", "repair", file)
    assert (status, err) == (0, "")
    assert out.startswith("saved: jobs 5, images that were put 0, lines of history 1, pieces of evidence 0\n")
    assert ".damaged-" in out.splitlines()[-1]
    assert zgrid_says("ledger", "check", file)[0] == 0


def test_repair_takes_filters_in_the_ledgers_words(zgrid_says, file):
    """What --chain says is read as --filter is; what is no chain is refused before anything is done."""
    file.write_bytes(bytes(100) + file.read_bytes()[100:])
    status, _, err = zgrid_says("ledger", "repair", file, "--chain", "no such:filter:at=all=")
    assert status == 2
    assert err.startswith("zgrid: ")
    status, out, _ = zgrid_says("ledger", "repair", file, "--chain", "null", "--json")
    assert (status, json.loads(out)["told"][0][:12]) == (0, "saved: jobs ")


def test_running_ventilator_keeps_its_ledger(zgrid_says, file):
    """A repair needs the ventilator stopped, and says so; a check and a prune do not."""
    ledger = Ledger(file)
    status, out, err = zgrid_says("ledger", "repair", file)
    assert (status, out) == (2, "")
    assert err.startswith("zgrid: a ventilator uses the ledger ")
    assert zgrid_says("ledger", "check", file)[0] == 0
    assert zgrid_says("ledger", "prune", file, "--older", "30d")[0] == 0
    ledger.close()


def test_prune(zgrid_says, file):
    """A dry run counts and changes nothing; then they are removed; then there is nothing more to remove."""
    expected = "jobs 3 (stored 2, discarded 1, cancelled 0)\n"
    assert zgrid_says("ledger", "prune", file, "--older", "30d", "--dry-run") == (
        0,
        f"would be removed: {expected}",
        "",
    )
    status, out, err = zgrid_says("ledger", "prune", file, "--older", "30d")
    assert (status, err) == (0, "")
    assert out == f"removed: {expected}with them: lines of history 0, pieces of evidence 0\n"
    status, out, _ = zgrid_says("ledger", "prune", file, "--older", "30d", "--json")
    assert json.loads(out) == {
        "file": str(file), "dry_run": False, "jobs": {"stored": 0, "discarded": 0, "cancelled": 0},
        "history": 0, "evidence": 0,
    }  # fmt: skip
    ledger = Ledger(file)
    assert ledger.counts()[State.STORED] == 3
    assert [found.seq for found in ledger.listed()] == [5, 4]
    ledger.close()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("check", "nothing.sqlite"), "nothing.sqlite is not there: name the ledger's file"),
        (("repair", "nothing.sqlite"), "nothing.sqlite is not there: name the ledger's file"),
        (("prune", "nothing.sqlite", "--older", "1d"), "nothing.sqlite is not there: name the ledger's file"),
        (("prune", "nothing.sqlite"), "Missing option '--older' (see zgrid ledger prune --help)"),
        (("prune", "nothing.sqlite", "--older", "soon"), "'soon' is no duration"),
        (("prune", "picture.jpg", "--older", "1d"), "picture.jpg is no ledger: name another file"),
        (("check", "picture.jpg"), "picture.jpg is no ledger: name another file"),
        (("check", "empty.sqlite"), "empty.sqlite is empty, so it is no ledger: name another file"),
        (("repair", "empty.sqlite"), "empty.sqlite is empty, so it is no ledger: name another file"),
        (("repair", ""), "'.' is no file: name the ledger's file"),
        (("check", "x" * 300), "cannot be read (File name too long): name a ledger that you may read"),
        (("check",), "Missing argument 'FILE' (see zgrid ledger check --help)"),
        ((), "see zgrid ledger --help"),
    ],
)
def test_wrong_usage_is_one_sentence(zgrid_says, tmp_path, monkeypatch, words, sentence):
    """What cannot be done is said in one line, and nothing is made of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.sqlite").touch()
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 500)
    status, out, err = zgrid_says("ledger", *words)
    assert status == 2
    assert (out, err.count("\n"), err[:7]) == ("", 1, "zgrid: ")
    assert sentence in err
    assert {entry.name for entry in tmp_path.iterdir()} == {"picture.jpg", "empty.sqlite"}
