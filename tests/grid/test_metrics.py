"""Metrics of real roles: scraped by a real Prometheus, bounded, and no way for a scraper to hold a role up."""

import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import photographs
import pytest
from harness import free_port
from prometheus_client.parser import text_string_to_metric_families
from watcher import MONITORING, Watcher, page

from zgrid import Client
from zgrid.metrics.family import SINK, VENTILATOR, WORKER, Kind
from zgrid.metrics.server import CONNECTIONS_MAX

pytestmark = pytest.mark.grid


@pytest.fixture
def served():
    """Role -> the HOST:PORT at which it will serve its metrics."""
    return {role: f"127.0.0.1:{free_port()}" for role in ("ventilator", "worker", "sink")}


def answers(address, path):
    """Return status and text of one of a role's pages; status 0 while nobody listens there."""
    try:
        return page(f"http://{address}{path}")
    except OSError:
        return 0, ""


def families(address):
    """Return the metrics of ours that a role tells, by name, in the plain format."""
    status, text = page(f"http://{address}/metrics")
    assert status == 200, text
    return {one.name: one for one in text_string_to_metric_families(text) if one.name.startswith("zgrid_")}


def samples(address):
    """Return (name, label values) -> value of everything that a role tells."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(address).values()
        for sample in family.samples
    }


def queries():
    """Return (panel, query) of every query of the dashboard, with its variables filled in as Grafana does."""
    found = []
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        assert panel["type"] == "row" or panel["targets"], f"{panel['title']} asks for nothing"
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "10s")
            query = query.replace("$job", "zgrid").replace("$instance", ".*")
            assert "$" not in query, f"{panel['title']}: a variable that the test does not know: {query}"
            found.append((panel["title"], query))
    return found


@pytest.mark.timeout(300)
def test_no_panel_is_empty(grid, served, tmp_path):
    """A real Prometheus has a number for every query of the dashboard, no rule fails, and the right alarm is raised."""
    wanted = queries()
    assert len(wanted) >= 40
    pictures = tmp_path / "in"
    if not photographs.write(pictures, 6):
        pytest.skip("no photographs here: pip install scikit-image")
    photographs.tiny(pictures, 150)
    # The last of them: what happened before the ventilator was scraped for the first time is no rise of a counter.
    photographs.tiny(pictures, 1, "fail on purpose", "zzz")
    with ExitStack() as stack:
        watcher = Watcher(tmp_path / "prometheus", list(served.values()))
        stack.callback(watcher.close)
        grid.sink(metrics=served["sink"])
        grid.worker(metrics=served["worker"], procs=2)
        # Nothing is done before everybody was scraped once: a counter that is new has not risen.
        grid.until(lambda: sorted(watcher.values('up{job="zgrid"} == 1')) == ["1", "1"], 60, "both are scraped")
        grid.ventilator(pictures, metrics=served["ventilator"], filter=["marked:work_ms=200"], by_reference=True)

        def all_have_numbers():
            wanted[:] = [(panel, query) for panel, query in wanted if set(watcher.values(query)) <= {"NaN"}]
            return not wanted

        grid.until(all_have_numbers, 90, f"every panel has numbers: {wanted}")
        rules = watcher.ask("rules")["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} == {"ok"}, rules
        variables = json.loads((MONITORING / "dashboard.json").read_text())["templating"]["list"]
        assert [one["query"]["query"] for one in variables if one["type"] == "query"] == [
            "label_values(zgrid_build_info, job)",
            'label_values(zgrid_build_info{job=~"$job"}, instance)',
        ]
        assert watcher.ask("label/job/values", **{"match[]": "zgrid_build_info"}) == ["zgrid"]
        instances = watcher.ask("label/instance/values", **{"match[]": 'zgrid_build_info{job=~"zgrid"}'})
        assert instances == sorted(served.values())
        firing = 'ALERTS{alertstate="firing"}'

        def raised():
            return {one["metric"]["alertname"] for one in watcher.ask("query", query=firing)["result"]}

        grid.until(lambda: raised() == {"ZgridJobsBuried"}, 60, "the buried job, and nothing else, is an alarm")


def test_what_is_declared_is_told(grid, served, tmp_path):
    """Every metric in the tables is told by its role, as what it is declared, and says what happened."""
    photographs.tiny(tmp_path / "in", 40)
    photographs.tiny(tmp_path / "in", 3, "discard it is dull", "dull")
    photographs.tiny(tmp_path / "in", 2, "fail it is broken", "bad")
    photographs.tiny(tmp_path / "in", 1, "segv", "crash")
    (tmp_path / "in/note.txt").write_text("no image")
    grid.sink(metrics=served["sink"])
    grid.worker(metrics=served["worker"])
    grid.ventilator(tmp_path / "in", metrics=served["ventilator"], filter=["marked"], attempts_max=2)
    grid.until_settled(46)
    grid.until(lambda: answers(served["sink"], "/readyz")[0] == 200)
    for role, table in {"ventilator": VENTILATOR, "worker": WORKER, "sink": SINK}.items():
        told = families(served[role])
        kinds = {Kind.COUNTER: "counter", Kind.GAUGE: "gauge", Kind.INFO: "gauge", Kind.HISTOGRAM: "histogram"}
        declared = {one.name.removesuffix("_total"): (kinds[one.kind], one.meaning) for one in table}
        assert {name: (family.type, family.documentation) for name, family in told.items()} == declared
        assert all(family.samples for family in told.values())
    grid.until(
        lambda: samples(served["ventilator"])["zgrid_jobs_settled_total", "buried"] == 3, what="counts are fresh"
    )
    ventilator, worker = samples(served["ventilator"]), samples(served["worker"])
    assert ventilator["zgrid_jobs", "stored"] == ventilator["zgrid_jobs_settled_total", "stored"] == 40
    assert ventilator["zgrid_jobs_settled_total", "discarded"] == 3
    assert ventilator["zgrid_jobs_accepted_total",] == 46
    assert ventilator["zgrid_attempts_total",] >= 47
    assert ventilator["zgrid_resends_total", "crashed"] == 2
    assert ventilator["zgrid_passed_over_total",] == 1
    assert worker["zgrid_worker_jobs_total", "kept"] == worker["zgrid_job_work_seconds_bucket", "+Inf"] - 5 == 40
    # A child that dies gives back what it had not begun, and that is given out again.
    assert worker["zgrid_job_wait_seconds_count",] >= ventilator["zgrid_attempts_total",]
    assert worker["zgrid_child_deaths_total", "died"] == 2
    status, text = page(f"http://{served['sink']}/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert text.endswith("# EOF\n")
    assert "zgrid_results_stored_total 40.0\n" in text


def test_series_go_with_their_worker(grid, served, tmp_path):
    """A worker that goes takes its series along, whoever comes after it; the sums stay."""
    grid.ventilator(metrics=served["ventilator"], filter=["marked"])
    grid.sink()

    def lanes():
        if answers(served["ventilator"], "/metrics")[0] != 200:
            return None
        return sorted(name[1] for name in samples(served["ventilator"]) if name[0] == "zgrid_lane_credit_jobs")

    for name in ("first", "second", "third"):
        grid.worker(name)
        grid.until(lambda name=name: lanes() == [name], what=f"{name} is the only one with series")
        grid.kill(name)
        grid.until(lambda: lanes() == [], what="its series are gone")
    assert samples(served["ventilator"])["zgrid_log_events_total", "worker_gone"] == 3


def test_a_worker_is_ready_with_a_ventilator(grid, served, tmp_path):
    """A worker's /readyz says what it lacks; /healthz is well all the time."""
    grid.worker(metrics=served["worker"])
    grid.until(lambda: answers(served["worker"], "/readyz") == (503, "no ventilator is reached\n"))
    assert answers(served["worker"], "/healthz") == (200, "alive\n")
    assert samples(served["worker"])["zgrid_ready",] == 0
    grid.ventilator(filter=["marked"])
    grid.until(lambda: answers(served["worker"], "/readyz") == (200, "ready\n"))
    grid.until(lambda: samples(served["worker"])["zgrid_ready",] == 1)


def test_a_hostile_scraper_holds_nobody_up(grid, served, tmp_path):
    """With hundreds of connections that say nothing or too much, jobs go on and the role has no thread for each."""
    photographs.tiny(tmp_path / "in", 50)
    grid.sink(metrics=served["sink"])
    grid.ventilator(metrics=served["ventilator"], filter=["marked"])
    grid.until(lambda: answers(served["ventilator"], "/readyz")[0] == 200 == answers(served["sink"], "/readyz")[0])
    host, port = served["ventilator"].split(":")
    with ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(socket.create_connection((host, int(port)), 5.0))
            connection.setblocking(False)
            try:
                connection.send((b"", b"GET /metrics HTTP/1.1\r\nX: ", b"\0" * 60_000)[number % 3])
            except OSError:
                continue  # it was closed at once: too many are open
        grid.worker()
        pid = grid.processes["ventilator"].popen.pid
        with Client(grid.address, 20_000) as client:
            for path in (tmp_path / "in").iterdir():
                client.put(path.read_bytes(), name=path.name)
        grid.until_settled(50)
        threads = int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
        assert threads < 2 * CONNECTIONS_MAX + 20
    grid.until(lambda: answers(served["ventilator"], "/readyz")[0] == 200, what="it answers when they are gone")
