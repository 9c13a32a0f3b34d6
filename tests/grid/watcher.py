"""A real Prometheus for tests: Debian's, from PATH or from where scripts/prometheus has put it."""

import json
import select
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from harness import free_port

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "systemd/monitoring"
START_S_MAX = 60.0


def program(name):
    """Return the path of prometheus or promtool; the test is skipped where there is none."""
    unpacked = ROOT / ".venv/prometheus" / name
    found = shutil.which(name) or (unpacked if unpacked.exists() else None)
    if found is None:
        pytest.skip(f"there is no {name} here: scripts/prometheus gets it")
    return str(found)


def page(url, *, accept="", timeout_s=30.0):
    """Return status and text of a page over HTTP."""
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Watcher:
    """Scrapes ``targets`` once a second and evaluates the alert rules that the project ships."""

    def __init__(self, folder, targets):
        self.address = f"127.0.0.1:{free_port()}"
        folder.mkdir()
        rules = (MONITORING / "alerts.yml").read_text()
        (folder / "alerts.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": "zgrid", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={self.address}",
                ],
                stdout=log, stderr=log, env={"GOMAXPROCS": "1"},
            )  # fmt: skip
        self._await_ready()

    def close(self):
        """End it."""
        self._process.kill()
        self._process.wait()

    def ask(self, path, **parameters):
        """Return the data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        status, text = page(f"http://{self.address}/api/v1/{path}?{query}")
        assert status == 200, f"{path} {parameters}: {text}"
        return json.loads(text)["data"]

    def values(self, expression):
        """Return the numbers that an expression has now, as texts: one for each series."""
        return [one["value"][1] for one in self.ask("query", query=expression)["result"]]

    def _await_ready(self):
        deadline = time.monotonic() + START_S_MAX
        poll = select.poll()
        while True:
            try:
                if page(f"http://{self.address}/-/ready")[0] == 200:
                    return
            except OSError:
                pass
            said = self.log.read_text(errors="replace")
            assert self._process.poll() is None, f"Prometheus ended:\n{said}"
            assert time.monotonic() < deadline, f"Prometheus does not answer:\n{said}"
            poll.poll(50)
