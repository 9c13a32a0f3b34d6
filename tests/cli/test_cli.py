"""The command line: help, errors, exit statuses and what is printed, without a grid."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

import zgrid
from zgrid.cli import app, options, questions, status_of
from zgrid.client import job_name
from zgrid.errors import PeerError, SettingsError, StoreError
from zgrid.settings import ROLES, flag_of, shown_of, variable_of

ROLES_AND_TOOLS = ["run", "ventilator", "worker", "sink", "status", "why", "top", "logs"]
BY_HAND = ["put", "jobs", "peek", "bury", "kick", "cancel", "retry", "pause", "resume", "drain"]
COMMANDS = [*ROLES_AND_TOOLS, *BY_HAND, "models", "filters", "ledger"]


@pytest.fixture
def zgrid_says(capsys, monkeypatch):
    """Run the command line here; return status, standard output and standard error."""
    for variable in [name for name in os.environ if name.startswith("ZGRID_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("ZGRID_DEBUG", "")
    monkeypatch.setenv("COLUMNS", "200")

    def say(*words):
        status = status_of(words)
        out, err = capsys.readouterr()
        return status, out, err

    return say


def process(*words, **more):
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "zgrid", *words], check=False, capture_output=True, text=True, timeout=60, **more
    )


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command(zgrid_says, words):
    """Help, which also comes without any word, names all commands and the shortest way to begin."""
    status, out, err = zgrid_says(*words)
    assert (status, err) == (0, "")
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert "zgrid run ~/Pictures --out faces" in out
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize("command", [*ROLES_AND_TOOLS, *BY_HAND, "models list", "models fetch", "filters list"])
def test_each_help_is_worth_reading(zgrid_says, command):
    """Each command says what it is for and has an example that stands on a line of its own."""
    status, out, _ = zgrid_says(*command.split(), "--help")
    assert status == 0
    lines = [line.strip() for line in out.splitlines()]
    assert any(line in {"Example:", "Examples:"} for line in lines)
    assert any(line.startswith(f"zgrid {command}") for line in lines)


@pytest.mark.parametrize("role", ROLES)
def test_every_setting_is_in_the_help(zgrid_says, role):
    """Every setting of a role is in its help with its flag, its variable and its own words, and nothing else is."""
    model = ROLES[role]
    _, out, _ = zgrid_says(role, "--help")
    text = " ".join(out.split())
    for name in model.model_fields:
        assert options.help_text(model, name) in text
        assert variable_of(name) in options.help_text(model, name)
        shown = shown_of(model, name)
        assert (shown.metavar if shown.is_argument else flag_of(name)) in text
    flags = {line.split()[0] for line in out.splitlines() if line.startswith("  --")}
    known = {flag_of(name) for name in model.model_fields if not shown_of(model, name).is_argument}
    assert flags == known | {"--config"}


def test_defaults_are_shown_as_one_types_them():
    """Lists, switches and sizes are shown in the form in which they are given."""
    model = ROLES["ventilator"]
    assert "(default: faces highlight; ZGRID_FILTER)" in options.help_text(model, "filter")
    assert "(default: no; ZGRID_ONCE)" in options.help_text(model, "once")
    assert "(default: 64MiB; ZGRID_JOB_BYTES_MAX)" in options.help_text(model, "job_bytes_max")
    assert "(needed; ZGRID_SINK)" in options.help_text(model, "sink")


def test_version(zgrid_says):
    """The version is the package's."""
    assert zgrid_says("--version") == (0, f"zgrid {zgrid.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wroker"], "No such command 'wroker'"),
        (["worker", "--porcs", "3"], "--procs"),
        (["worker", "--procs"], "--procs"),
        (["worker"], "ADDRESS is needed: the ventilators to work for"),
        (["worker", "localhost"], "ADDRESS: 'localhost' is no address: write tcp://HOST:PORT"),
        (["worker", "tcp://h:1", "--procs", "many"], "--procs must be a whole number, not 'many'"),
        (["ventilator", "."], "--sink is needed"),
        (["run", "."], "--out is needed"),
        (["run", ".", "--out", ""], "--out: '' is no path"),
        (["run", ".", "--out", "/dev/null"], "--out /dev/null/logs cannot be a folder: there is a file on the way"),
        (["run", ".", "--out", "/proc/x"], "--out /proc/x/logs cannot be made (No such file or directory): name one"),
        (["run", ".", "--out", "o", "--job-bytes-max", "12XB"], "--job-bytes-max: '12XB' is no size: write bytes, or"),
        (
            ["sink", "--config", "/nowhere.toml"],
            "the file of settings /nowhere.toml cannot be read: No such file",
        ),
        (["status"], "ADDRESS"),
        (["status", "photos"], "ADDRESS: 'photos' is no address"),
        (["status", "tcp://h:1", "--timeout-ms", "0"], "--timeout-ms"),
        (["why", "tcp://h:1"], "JOB"),
        (["put", "tcp://127.0.0.1:1", "x.jpg", "--attempts", "5000"], "a whole number from 1 to 1000, not 5000"),
        (["keys"], "Missing command (see zgrid keys --help)"),
        (["models", "fetch", "nothing"], "nothing"),
        (["--debug", "sink", "--bind", "x"], "--bind: 'x' is no address"),
    ],
)
def test_wrong_usage_is_status_2_and_one_sentence(zgrid_says, words, said):
    """Whatever the operator gets wrong ends in status 2 with one sentence on standard error and nothing else."""
    status, out, err = zgrid_says(*words)
    assert (status, out) == (2, "")
    assert err.startswith("zgrid: ")
    assert said in err
    assert err.count("\n") == 1


def test_those_that_ask_take_variables(zgrid_says, monkeypatch):
    """How long to wait, and JSON, may be set once for all commands that ask; roles do not mind."""
    monkeypatch.setenv("ZGRID_TIMEOUT_MS", "0")
    monkeypatch.setenv("ZGRID_JSON", "1")
    status, _, err = zgrid_says("status", "tcp://h:1")
    assert (status, "ZGRID_TIMEOUT_MS" in err or "--timeout-ms" in err) == (2, True)
    assert zgrid_says("sink", "--bind", "x") == (
        2,
        "",
        "zgrid: --bind: 'x' is no address: write tcp://HOST:PORT or ipc:///path\n",
    )


def test_a_wrong_variable_is_refused(zgrid_says, monkeypatch):
    """A misspelt variable in the environment stops a role with a sentence."""
    monkeypatch.setenv("ZGRID_PICTURS", "x")
    assert zgrid_says("sink") == (
        2,
        "",
        "zgrid: ZGRID_PICTURS in the environment is unknown; did you mean ZGRID_PICTURES?\n",
    )


@pytest.fixture
def command(request):
    """A command for the time of one test that does what the test gives it to do."""

    def add(action):
        app.command("only-for-a-test")(action)
        request.addfinalizer(app.registered_commands.pop)

    return add


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (SettingsError("port 5 is taken"), 2, "zgrid: port 5 is taken\n"),
        (StoreError("the disk is full"), 1, "zgrid: the disk is full\n"),
        (PeerError("nobody answers"), 1, "zgrid: nobody answers\n"),
        (KeyboardInterrupt(), 130, ""),
        (KeyError("x"), 1, "zgrid: this is a fault of zgrid's: KeyError: 'x' (zgrid --debug ... shows where)\n"),
    ],
)
def test_errors_become_statuses(zgrid_says, command, error, status, said):
    """Each kind of error has its exit status and its sentence, and none has a traceback."""

    def fail():
        raise error

    command(fail)
    assert zgrid_says("only-for-a-test") == (status, "", said)


def test_debug_shows_where(zgrid_says, command):
    """--debug shows the traceback of a fault of ours."""
    command(lambda: {}["x"])
    status, _, err = zgrid_says("--debug", "only-for-a-test")
    assert status == 1
    assert "Traceback" in err
    assert "test_cli.py" in err


def test_a_command_says_its_status(zgrid_says, command):
    """What a command returns is the exit status."""
    command(lambda: 3)
    assert zgrid_says("only-for-a-test")[0] == 3


def test_settings_reach_the_command(monkeypatch, tmp_path):
    """Flags, switches, lists and the config file reach a command as its settings."""
    config = tmp_path / "zgrid.toml"
    config.write_text("ttr_ms = 777\n")
    for variable in [name for name in os.environ if name.startswith("ZGRID_")]:
        monkeypatch.delenv(variable)
    seen = []
    probe = typer.Typer()
    probe.command()(options.takes(ROLES["ventilator"])(lambda settings: seen.append(settings) or 0))
    words = [
        "/a",
        "/b c",
        "--sink",
        "tcp://h:1",
        "--sink=tcp://h:2",
        "--once",
        "--filter",
        "null",
        "--config",
        str(config),
    ]
    probe(args=words, standalone_mode=False)
    (settings,) = seen
    assert (settings.sources, settings.sink) == (["/a", "/b c"], ["tcp://h:1", "tcp://h:2"])
    assert (settings.once, settings.by_reference, settings.filter, settings.ttr_ms) == (True, False, ["null"], 777)
    seen.clear()
    probe(args=settings.arguments(), standalone_mode=False)
    assert seen == [settings]


def test_help_is_instant():
    """Help needs neither OpenCV, ZeroMQ, SQLAlchemy nor a role, which is what keeps it well under 300 ms."""
    heavy = "{'cv2', 'zmq', 'sqlalchemy', 'structlog', 'numpy', 'zgrid.roles'}"
    code = f"import sys, zgrid.cli; zgrid.cli.status_of(['--help']); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()"


def test_process_ends_with_the_status():
    """The status of a command is that of the process, and wrong usage writes no traceback."""
    done = process("worker", env={**os.environ, "ZGRID_VENTILATORS": ""})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("zgrid: ADDRESS is needed")


def test_models_and_filters_are_listed(zgrid_says, monkeypatch, tmp_path):
    """Models and filters are listed, with what to do for a model that is not here; the group's name alone lists too."""
    monkeypatch.setenv("ZGRID_MODELS", str(tmp_path))
    status, out, _ = zgrid_says("models")
    assert status == 0
    assert "zgrid models fetch yunet" in out
    assert str(tmp_path) in out
    status, out, _ = zgrid_says("filters")
    assert status == 0
    assert out.split()[0] == "filter"
    assert {"faces", "highlight", "null"} <= {line.split()[0] for line in out.splitlines()}
    found = json.loads(zgrid_says("filters", "list", "--json")[1])
    assert {"faces", "highlight", "null"} <= found["available"].keys() | found["missing"].keys()


def test_model_is_fetched_from_a_file(zgrid_says, monkeypatch, tmp_path):
    """A file that is not the pinned one is refused with status 2, and nothing is put into place."""
    monkeypatch.setenv("ZGRID_MODELS", str(tmp_path / "models"))
    (tmp_path / "wrong.onnx").write_bytes(b"something else")
    status, _, err = zgrid_says("models", "fetch", "yunet", "--from", str(tmp_path / "wrong.onnx"))
    assert status == 2
    assert "SHA-256" in err
    assert not list((tmp_path / "models").glob("*.onnx"))


STATUS = {
    "version": "0.1.0",
    "name": "v1",
    "uptime_ms": 3_700_000,
    "chain": "faces highlight",
    "counts": {"ready": 5, "sent": 2, "stored": 1000, "buried": 1},
    "accepted": 1008,
    "passed_over": 7,
    "scanning": True,
    "rate_per_s": 12.345,
    "workers": [
        {"name": "w1\x1b[2J", "host": "h", "procs": 4, "lane": 1, "state": "up", "sent": 2, "beat_age_ms": 250.0},
        {
            "name": "w2",
            "host": "h2",
            "procs": 2,
            "lane": 2,
            "state": "up",
            "sent": 12345,
            "beat_age_ms": 12_500,
            "reads": ["file:///photos"],
        },
    ],
    "by_reference": True,
    "sinks": [{"address": "tcp://s:1", "state": "up", "unsettled": 3}],
    "waiting": ["chain faces+highlight: no worker has highlight"],
}


def test_status_for_people(capsys):
    """A status says what stands, and a name from elsewhere cannot steer the terminal."""
    questions._say_status("tcp://h:5550", STATUS)
    out = capsys.readouterr().out
    for text in ["v1 at tcp://h:5550", "up 1 h 1 min", "1008 accepted, 7 passed over, and still scanning; 12.3 images"]:
        assert text in out
    assert "waiting: chain faces+highlight: no worker has highlight" in out
    assert "250 ms" in out
    assert "12.5 s" in out
    assert "\x1b" not in out
    assert "w1\\x1b[2J" in out
    assert "w1\\x1b[2J reads no files (zgrid worker --allow): it is sent whole images" in out
    assert "w2 reads no files" not in out


def test_status_of_a_sink(capsys):
    """A sink that is asked how it stands is shown as a sink, not as a ventilator without jobs."""
    answer = {
        "role": "sink", "name": "results", "version": "0.1.0", "uptime_ms": 12_500, "ventilators": 1, "stored": 188,
        "duplicates": 2, "faces": 590, "held_bytes": 3 << 20, "rate_per_s": 61.8, "waiting": ["results wait: full"],
    }  # fmt: skip
    questions._say_sink("tcp://h:5560", answer)
    out = capsys.readouterr().out
    assert "results at tcp://h:5560, a sink, zgrid 0.1.0, up 12.5 s, ventilators: 1" in out
    assert "188 stored with 590 faces, 2 that were stored already; 61.8 images each second" in out
    assert "3.0 MiB of results wait" in out
    assert "waiting: results wait: full" in out


def test_status_of_an_empty_grid(capsys):
    """A status without workers says how to start one; an answer with nothing in it is no crash."""
    questions._say_status("tcp://h:5550", {})
    assert "no worker is here; start one with: zgrid worker tcp://h:5550" in capsys.readouterr().out


def test_life_of_a_job(capsys, monkeypatch):
    """Each step has its time, worker and note."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    step = {"at_ms": 1_700_000_000_123, "event": "sent", "worker": "w1", "lane": 4, "attempt": 1, "note": None}
    questions._say_life({"job": {"seq": 5, "state": "stored"}, "history": [step, {"at_ms": "odd"}]})
    out = capsys.readouterr().out
    assert "seq: 5" in out
    assert "2023-11-14 22:13:20.123+00:00  sent" in out


def test_job_may_be_a_path(tmp_path, monkeypatch):
    """A path that is here becomes its URI; a number, a key and a URI stay what they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.jpg").touch()
    (tmp_path / "42").touch()
    assert job_name("a b.jpg") == job_name(Path("a b.jpg")) == f"file://{tmp_path}/a%20b.jpg"
    for job in ["42", "0f" * 16, "file:///x.jpg", "gone.jpg"]:
        assert job_name(job) == job


def test_ctrl_c_while_it_starts_is_quiet(tmp_path):
    """Before any command has begun there is nothing to tell; afterwards Ctrl-C is Python's again."""
    (tmp_path / "typer.py").write_text("import signal\nprint('here', flush=True)\nsignal.pause()\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-m", "zgrid", "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path}, preexec_fn=heed_ctrl_c,  # noqa: PLW1509  no thread holds a lock
    ) as starting:  # fmt: skip
        assert starting.stdout.readline() == "here\n"
        starting.send_signal(signal.SIGINT)
        try:
            assert (starting.wait(30), starting.stderr.read()) == (130, "")
        finally:
            starting.kill()
    asked = "import signal, zgrid.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=30, preexec_fn=heed_ctrl_c
    )  # fmt: skip
    assert done.stdout == "True\n"


def heed_ctrl_c():
    """In a new process: be ended by Ctrl-C, also where a shell has started us in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
