"""Key files and the list: what is written is read again, and whatever is wrong with them is one clear sentence."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gatehouse import enrolled

from zgrid.cli import status_of
from zgrid.errors import SettingsError
from zgrid.roles.trust import Trust
from zgrid.settings import WorkerSettings, is_local, load
from zgrid.transport.enrolment import Enrolment
from zgrid.transport.keyring import (
    LIST,
    Member,
    find_key,
    list_of,
    members_of,
    read_key,
    read_list,
    roster_of,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a grid with two members of each role, and no keys anywhere else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    enrolled(tmp_path / "keys")
    return tmp_path / "keys"


def process(*words, **environment):
    """Run a command in a process of its own; return its status, and what it printed on both streams."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZGRID_")}
    done = subprocess.run(
        [sys.executable, "-m", "zgrid", *map(str, words)], capture_output=True, text=True, timeout=60, check=False,
        env={**kept, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def refused(call, *arguments):
    """Return the sentence with which a call is refused."""
    with pytest.raises(SettingsError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_file_has_what_its_role_needs(folder):
    """A worker knows the ventilators, an operator and another ventilator the sinks too; none has another's secret."""
    keys = {path.stem: read_key(path) for path in folder.glob("*.key")}
    called = {name: {one.role for one in key.calls} for name, key in keys.items()}
    assert called["w1"] == called["sink"] == {"ventilator"}
    assert called["anna"] == called["photos2"] == {"ventilator", "sink"}
    assert called["ventilator"] == set()
    texts = {path.stem: path.read_text() for path in folder.glob("*.key")}
    for name, key in keys.items():
        assert [other for other, text in texts.items() if key.secret in text] == [name]
    assert not any(key.secret in (folder / LIST).read_text() for key in keys.values())
    assert "secret" not in repr(keys["w1"])
    assert keys["w1"].secret not in repr(keys["w1"])


def test_only_the_owner_may_read_a_key_file(folder):
    """Key files are made 0600; one that others can read is refused, with the command that mends it."""
    for path in folder.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / LIST).stat().st_mode) == 0o644
    path = folder / "w1.key"
    for mode in (0o640, 0o604, 0o660, 0o644):
        path.chmod(mode)
        assert f"chmod 600 {path}" in refused(read_key, path)
    path.chmod(0o400)
    assert read_key(path).name == "w1"
    (folder / LIST).chmod(0o664)
    assert f"chmod go-w {folder / LIST}" in refused(read_list, folder / LIST)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:40], "is no file of keys that this zgrid knows"),
        (lambda text: "\0" + text, "is damaged, or no file of keys"),
        (lambda text: text.replace("zgrid = 1", "zgrid = 2"), "no file of keys that this zgrid knows"),
        (lambda text: text.replace('role = "worker"', 'role = "boss"', 1), "a role or a key that cannot be"),
        (lambda text: text.replace("name =", "nam =", 1), "does not say its name"),
        (lambda text: text.replace('secret = "', 'secret = "0000'), "do not belong together"),
        (lambda text: text.replace("[[calls]]", "[calls]"), "calls is not what it should be"),
        (lambda _: "", "is no file of keys"),
        (lambda _: "x" * 100_000, "is damaged"),
    ],
)  # fmt: skip
def test_damaged_file(folder, spoil, said):
    """A file that is cut, scribbled upon, of a later zgrid or something else is refused, and the sentence names it."""
    path = folder / "w1.key"
    path.write_text(spoil(path.read_text()))
    sentence = refused(read_key, path)
    assert said in sentence
    assert str(path) in sentence


def test_wrong_role_and_another_grid(folder, tmp_path):
    """A file of another role, and a list of another grid than the key beside it, are told from the right ones."""
    assert "w1, whose role is worker and not sink" in refused(find_key, "sink", folder / "w1.key")
    Enrolment(tmp_path / "other").init("photos")
    (folder / LIST).write_bytes((tmp_path / "other" / LIST).read_bytes())
    assert "the list of another grid" in refused(read_list, folder / LIST, read_key(folder / "ventilator.key").grid)


def test_where_keys_are_looked_for(folder, tmp_path, monkeypatch):
    """A folder has one file of a role or says which there are; credentials come first; nothing is no error."""
    assert find_key("ventilator", folder).name == "photos"
    assert "several keys for a worker (w1.key, w2.key)" in refused(find_key, "worker", folder)
    (folder / "w2.key").unlink()
    assert find_key("worker", folder).name == "w1"
    (folder / "w1.key").unlink()
    assert "zgrid keys enroll NAME --role worker" in refused(find_key, "worker", folder)
    assert "there is no such folder" in refused(find_key, "worker", tmp_path / "none")
    if os.geteuid():
        assert find_key("worker", None) is None
    passed = tmp_path / "passed"
    passed.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(passed))
    (passed / "ventilator.key").write_bytes((folder / "ventilator.key").read_bytes())
    (passed / "ventilator.key").chmod(0o440)
    assert find_key("ventilator", None).name == "photos"
    assert list_of(find_key("ventilator", None)) is None
    assert list_of(find_key("ventilator", folder)) == folder / LIST


def test_whom_an_address_belongs_to(folder):
    """One of a role needs no address; of several, the one that was enrolled with it; else the sentence says how."""
    key = read_key(folder / "operator.key")
    assert key.calling("tcp://anything:1", "sink").server.decode() == read_key(folder / "sink.key").public
    anna = read_key(folder / "anna.key")
    assert "enroll them, and then this one again, with --at" in refused(anna.calling, "tcp://anything:1", "sink")
    Enrolment(folder).enroll("sink3", "sink", ["tcp://c:5560"])
    path = Enrolment(folder).enroll("bob", "operator")
    assert read_key(path).calling("tcp://c:5560", "sink").server.decode() == read_key(folder / "sink3.key").public
    sinks = [Member("a", "sink", "a" * 40, ("tcp://a:1",)), Member("b", "sink", "b" * 40)]
    assert key.calling("tcp://elsewhere:1", "sink", sinks).server == b"b" * 40, "the only one that may be anywhere"
    assert key.calling("tcp://a:1", "sink", sinks).server == b"a" * 40
    assert "is it the right file" in refused(read_key(folder / "w1.key").calling, "tcp://a:1", "sink")


def test_enrolling_twice_and_revoking(folder):
    """A name is enrolled once; revoked it is off the list and its file is gone; the ventilator itself cannot be."""
    enrolment = Enrolment(folder)
    assert "w1 is enrolled already, as a worker" in refused(enrolment.enroll, "w1", "worker")
    before = {one.name for one in enrolment.members()}
    assert enrolment.revoke("w1").name == "w1"
    assert not (folder / "w1.key").exists()
    assert before - {one.name for one in enrolment.members()} == {"w1"}
    assert "nobody here is called w1" in refused(enrolment.revoke, "w1")
    assert "the ventilator of this folder" in refused(enrolment.revoke, "photos")
    assert "--call ADDRESS" in refused(enrolment.enroll, "photos3", "ventilator")
    for name in ("", "../w3", "a b", "x" * 65, ".hidden"):
        assert "is no name for a key" in refused(enrolment.enroll, name, "worker")
    assert "has the keys of a grid already" in refused(enrolment.init, "photos")
    assert "no keys of a grid" in refused(Enrolment(folder / "none").members)


def test_roster_on_the_wire():
    """Members become a message and members again; a role that is unknown gives no rights."""
    members = [Member("w1", "worker", "0" * 40), Member("new", "prophet", "1" * 40)]
    assert members_of(roster_of(members)) == members[:1]


def test_whom_a_sink_trusts(folder):
    """The ventilators of its file, until the first of them names others; only they say who else is let in."""
    sink = read_key(folder / "sink2.key")
    first, second = (read_key(folder / name) for name in ("ventilator.key", "photos2.key"))
    worker, own = Member("w1", "worker", "a" * 40), Member("x", "worker", "b" * 40)
    members = {one.name: one for one in read_list(folder / LIST)}
    trust = Trust(sink)
    assert [one.name for one in trust.allowed()] == ["photos"], "the second was enrolled after this sink"
    assert not trust.heard(second.public, [own])
    assert trust.heard(first.public, [members["photos"], members["photos2"], worker])
    assert [one.name for one in trust.allowed()] == ["photos", "photos2", "w1"]
    assert trust.heard(second.public, [own, Member("evil", "ventilator", "c" * 40)])
    assert [one.name for one in trust.allowed()] == ["photos", "photos2", "w1"], "the word of the first counts"
    assert trust.heard(first.public, [members["photos"], worker])
    assert [one.name for one in trust.allowed()] == ["photos", "w1"]


def test_revocation_holds_while_a_ventilator_is_off(folder):
    """What a ventilator that is off had said long ago lets in nobody who is on no newer list."""
    first, second = (read_key(folder / name) for name in ("ventilator.key", "photos2.key"))
    both = tuple(Member(one.name, one.role, one.public) for one in (first, second))
    sink = replace(read_key(folder / "sink.key"), calls=both)
    worker, gone = Member("w1", "worker", "a" * 40), Member("w2", "worker", "b" * 40)
    trust = Trust(sink)
    assert trust.heard(second.public, [*both, worker, gone])
    assert [one.name for one in trust.allowed()] == ["photos", "photos2", "w1", "w2"], "the first has not spoken"
    assert trust.heard(first.public, [*both, worker])
    assert [one.name for one in trust.allowed()] == ["photos", "photos2", "w1"], "the second is off, and its list old"
    assert trust.heard(second.public, [*both, worker, gone])
    assert [one.name for one in trust.allowed()] == ["photos", "photos2", "w1"]


def test_newest_list_counts_where_home_is_silent(folder):
    """While the first ventilator has said nothing, of several others the last word counts."""
    first, second, third = (read_key(folder / f"{name}.key") for name in ("ventilator", "photos2", "anna"))
    given = tuple(Member(one.name, "ventilator", one.public) for one in (first, second, third))
    trust = Trust(replace(read_key(folder / "sink.key"), calls=given))
    worker = Member("w1", "worker", "a" * 40)
    for public, told in ((second.public, [worker]), (third.public, []), (second.public, [worker]), (third.public, [])):
        assert trust.heard(public, told)
        assert ([one.name for one in trust.allowed() if one.role == "worker"] == ["w1"]) is bool(told)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///x"]
)
def test_local_addresses(address):
    """What only this machine can reach needs no keys."""
    assert is_local(address)


@pytest.mark.parametrize(
    "address", ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://10.0.0.1:1", "tcp://photos:1", "tcp://[::]:1"]
)
def test_open_addresses(address):
    """Everything else does."""
    assert not is_local(address)


def test_commands(tmp_path, capsys, monkeypatch):
    """Init, enroll, list and revoke say what they did and what is to be done next; wrong use is a sentence and 2."""

    def run(*words):
        return status_of([str(word) for word in words]), *capsys.readouterr()

    keys = tmp_path / "keys"
    status, printed, _ = run("keys", "init", "--keys", keys, "--name", "photos")
    assert status == 0
    assert f"carry {keys}/sink.key to the sink's machine" in printed
    monkeypatch.setenv("ZGRID_KEYS", str(keys))
    status, printed, _ = run("keys", "enroll", "w1")
    monkeypatch.delenv("ZGRID_KEYS")
    assert (status, (keys / "w1.key").exists()) == (0, True)
    assert f"carry {keys}/w1.key to its machine" in printed
    assert run("keys", "enroll", "anna", "--role", "operator", "--keys", keys)[0] == 0
    status, printed, _ = run("keys", "list", "--json", "--keys", keys)
    assert {one["name"]: one["role"] for one in json.loads(printed)} == {
        "photos": "ventilator", "sink": "sink", "operator": "operator", "w1": "worker", "anna": "operator"
    }  # fmt: skip
    assert "w1" in run("keys", "list", "--keys", keys)[1]
    status, printed, _ = run("keys", "revoke", "w1", "--keys", keys)
    assert (status, "w1, a worker, is revoked" in printed) == (0, True)
    for words in (
        ("enroll", "w2", "--role", "boss"),
        ("revoke", "w9"),
        ("init",),
        ("enroll", "x", "--at", "tcp://*:1"),
    ):
        status, _, said = run("keys", *words, "--keys", keys)
        assert (status, said.startswith("zgrid: "), said.count("\n")) == (2, True, 1), said


def test_keys_or_insecure():
    """Both at the same time cannot be meant."""
    with pytest.raises(SettingsError, match="--insecure does without keys, so --keys has no place beside it"):
        load(WorkerSettings, {"ventilators": ["tcp://h:1"], "keys": Path("w1.key"), "insecure": True}, None, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sink", "--bind=tcp://*:0"), "is open to the network and there are no keys"),
        (("ventilator", "--bind=tcp://0.0.0.0:0", "--sink=tcp://h:1"), "zgrid keys init"),
        (("worker", "tcp://h:1", "--keys=none"), "there is no such folder or file"),
    ],
)
def test_roles_refuse_what_is_open_or_wrong(tmp_path, words, said):
    """A role that would be open to a network without keys, or whose keys are not there, ends with 2 and a sentence."""
    places = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    status, _, errors = process(*words, XDG_DATA_HOME=str(tmp_path), **places)
    (sentence,) = [line for line in errors.splitlines() if not line.startswith("{")]
    assert (status, said in sentence) == (2, True), errors


def test_key_that_may_not_be_read_is_not_meant(folder):
    """Somebody else's file in the folder does not hide that there is none for this role."""
    for path in folder.glob("*.key"):
        path.unlink()
    (folder / "operator.key").symlink_to(folder / "nowhere")
    assert "has no key for the role worker" in refused(find_key, "worker", folder)


def test_damaged_file_hinders_no_revocation(folder):
    """A file that cannot be read lies beside the one of who is revoked, and that one goes."""
    (folder / "a.key").write_text("rubbish")
    Enrolment(folder).revoke("w1")
    assert not (folder / "w1.key").exists()
    assert "w1" not in {one.name for one in read_list(folder / LIST)}


def test_full_disk_leaves_no_part_of_a_key(folder):
    """A key file that could not be written whole is not there, so that the next attempt finds its place free."""
    keys = folder.parent / "new"
    keys.mkdir()
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); from zgrid.cli import main; "
    )
    words = ["keys", "init", "--keys", str(keys)]
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}sys.argv[1:] = {words!r}; sys.exit(main())"], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "cannot be written" in done.stderr
    assert not list(keys.iterdir())
    assert process(*words)[0] == 0
