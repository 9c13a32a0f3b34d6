"""A machine of its own for a test: a systemd booted in a sandbox, with zgrid installed as its users would do it.

Its /opt/zgrid is a folder of the test session, so that the program is installed once; all else is new for each machine.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from zgrid.protocol.job import OPEN, State

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
SANDBOX = Path(__file__).parent / "sandbox"
ROLES = {"worker": "zgrid-worker", "sink": "zgrid-sink", "ventilator": "zgrid-ventilator@main"}
"""Role -> its unit, as ``scripts/install ROLE`` makes it."""
LEDGER = "/var/lib/zgrid/ventilator/main/ledger.sqlite"
LOOK_EVERY_MS = 50
WITHIN_S = 60.0


class SandboxError(Exception):
    """No sandbox can be booted here, and why."""


class Machine:
    """One sandbox. ``shows``: SOURCE:TARGET[:rw] for what of this machine is seen in there."""

    def __init__(self, *shows):
        self._process = subprocess.Popen(
            [SANDBOX, *shows], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._first = self._process.stdout.readline().strip()
        if not self._first:
            raise SandboxError(self._process.communicate()[1].strip())
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def close(self):
        """End everything in there and see that it is gone."""
        _, errors = self._process.communicate()
        assert self._process.returncode == 0, errors

    def run(self, *words, check=True, text=None):
        """Run a command in there as root, with ``text`` as its input, and return what it printed on both streams."""
        enter = ["nsenter", "--target", self._first, "--mount", "--uts", "--ipc", "--net", "--pid", "--", "env", "-i"]
        done = subprocess.run(
            [*enter, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *words],
            input=text or "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def name(self):
        """Return the host's name in there."""
        return self.run("uname", "-n").strip()

    def install(self, *words):
        """Run scripts/install as an operator without a network."""
        return self.run("env", f"PYTHON={python()}", "/src/scripts/install", "--wheelhouse", "/wheelhouse", *words)

    # -- files in there

    def path(self, name):
        """Return how a file in there is reached from here."""
        return Path(f"/proc/{self._first}/root{name}")

    def write(self, name, text):
        """Write a file in there; its folder is made."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def set_up(self, role, text):
        """Add to the settings of a role."""
        name = "ventilator/main" if role == "ventilator" else role
        with self.path(f"/etc/zgrid/{name}.toml").open("a") as file:
            file.write(text)

    def override(self, role, text):
        """Change a role's unit as ``systemctl edit`` does."""
        unit = ROLES[role].replace("@main", "@")
        self.write(f"/etc/systemd/system/{unit}.service.d/override.conf", f"[Service]\n{text}\n")
        self.run("systemctl", "daemon-reload")

    def query(self, name, statement):
        """Return the rows of a statement on a SQLite file in there that its owner has open; none before it has."""
        if not self.path(name).exists():
            return []
        code = (
            "import json, sqlite3, sys\n"
            "db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=20)\n"
            "print(json.dumps(db.execute(sys.argv[2]).fetchall()))"
        )
        printed = self.run(python(), "-ISc", code, name, statement, check=False)
        if "no such table" in printed:
            return []
        return json.loads(printed)

    def page(self, place, path):
        """Return a page that a role serves over HTTP; what it says when it does not serve it."""
        code = (
            "import sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), end='')"
        )
        return self.run(python(), "-ISc", code, f"http://{place}{path}", check=False)

    # -- units

    def unit(self, role):
        """Return what systemd knows of a role's unit, all at one moment."""
        wanted = "ActiveState,SubState,MainPID,NRestarts,StatusText,Result,ExecMainStatus,InvocationID"
        printed = self.run("systemctl", "show", "-p", wanted, ROLES.get(role, role))
        return dict(line.split("=", 1) for line in printed.splitlines())

    def pid(self, role):
        """Return the number in there of a role's main process; 0 for none."""
        return int(self.unit(role)["MainPID"])

    def kill(self, number):
        """Send a signal to the main process of every role, and to no other, in the same moment."""
        self.run("kill", f"-{number}", *(str(self.pid(role)) for role in ROLES))

    def restarted(self, role, times=1):
        """Whether a unit was started again by systemd, and runs."""
        unit = self.unit(role)
        return int(unit["NRestarts"]) >= times and unit["ActiveState"] == "active" and unit["MainPID"] != "0"

    # -- the journal

    def said(self, role):
        """Return the lines that a role itself has written, oldest first."""
        self.run("journalctl", "--sync")
        wanted = [f"_SYSTEMD_UNIT={ROLES[role]}.service", "_TRANSPORT=stdout"]
        return self.run("journalctl", "-q", "-o", "cat", *wanted).splitlines()

    def events(self, role, event):
        """Return the lines of a role with one event, as dicts."""
        lines = (json.loads(line) for line in self.said(role) if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def journal(self, role=None):
        """Return the whole journal, systemd's own lines too, or what concerns one role."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "-q", "-o", "short-monotonic", *(["-u", ROLES[role]] if role else []))

    # -- waiting

    def until(self, condition, what, within_s=WITHIN_S):
        """Look until ``condition()`` is true and return it; fail after the deadline with the end of the journal."""
        deadline = time.monotonic() + within_s
        poll = select.poll()
        while not (value := condition()):
            tail = "\n".join(self.journal().splitlines()[-40:]) if time.monotonic() > deadline else ""
            assert not tail, f"in vain for {within_s:g} s: {what}\n{tail}"
            poll.poll(LOOK_EVERY_MS)
        return value

    # -- a grid in there

    def grid(self, sources, **settings):
        """Write the settings of a grid whose roles are all on this machine: what one would edit after installing."""
        more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        self.set_up("ventilator", f'sources = ["{sources}"]\nsink = ["tcp://127.0.0.1:5560"]\n{more}')
        self.set_up("worker", 'ventilators = ["tcp://127.0.0.1:5550"]\nprocs = 2\n')

    def counts(self):
        """Return how many jobs of the ledger on disk are in each state."""
        rows = dict(self.query(LEDGER, "SELECT state, jobs FROM counts"))
        return {state: rows.get(state, 0) for state in State}

    def failures(self):
        """Return how many attempts jobs have lost."""
        return self.query(LEDGER, "SELECT coalesce(sum(failures), 0) FROM jobs")[0][0]

    def until_settled(self, jobs):
        """Wait until this many jobs were accepted and all are closed; return how many are in each state."""

        def settled():
            counts = self.counts()
            return sum(counts.values()) == jobs and not any(counts[state] for state in OPEN) and counts

        return self.until(settled, f"all of {jobs} jobs are settled")

    def images(self):
        """Return URI -> picture of every row that the sink has; an image with two rows fails."""
        rows = self.query("/var/lib/zgrid/sink/results.sqlite", "SELECT uri, picture FROM images")
        assert len(dict(rows)) == len(rows), "an image has two rows"
        return dict(rows)


@cache
def python():
    """Return a Python of the system with which the packages of this one work; None where there is none."""
    wanted = "{}.{}".format(*sys.version_info)
    for name in ("/usr/bin/python3", f"/usr/bin/python{wanted}", "/usr/local/bin/python3"):
        code = "import sys, ensurepip, venv; print('{}.{}'.format(*sys.version_info))"
        if os.access(name, os.X_OK):
            done = subprocess.run([name, "-c", code], capture_output=True, text=True, check=False)
            if done.stdout.strip() == wanted:
                return name
    return None


def reason_not_to():
    """Return why no machine can be booted here, or nothing."""
    if os.geteuid() != 0:
        return "only root can boot a systemd"
    if not Path("/lib/systemd/systemd").exists():
        return "there is no systemd here"
    missing = [tool for tool in ("unshare", "nsenter", "setpriv", "mount", "journalctl") if not shutil.which(tool)]
    if missing:
        return f"there is no {missing[0]} here"
    if python() is None:
        return "the system's Python is another version than the one that runs the tests, or has no venv"
    return ""
