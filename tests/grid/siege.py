"""A grid over four hosts, set up by README's commands with keys, while a fifth does what it can to it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import photographs
from harness import Grid
from strangers import listening_ports
from switch import Switch

from zgrid.protocol.job import State
from zgrid.transport.keyring import read_key

HOSTS = ("ventilator", "w1", "w2", "sink", "uninvited")
UNINVITED = Path(__file__).parent / "uninvited.py"
MIB = 1 << 20
GROWTH_MIB_MAX = 64
DESCRIPTORS_MAX = 4000

HELD = 3000
"""Connections that the uninvited host holds at a time, over all ports."""


class Siege:
    """The hosts and the grid over them; ``stack`` takes the network down. Work: jobs of ``work_ms`` each."""

    def __init__(self, stack, folder, jobs, work_ms=20):
        self.switch = Switch(stack, *HOSTS)
        self.tap = self.switch.tap(stack)
        self.grid = Grid(folder)
        self.jobs = jobs
        photographs.tiny(folder / "in", jobs)
        self.at = self.switch.addresses
        self.grid.address = f"tcp://{self.at['ventilator']}:5550"
        self.grid.sink_address = f"tcp://{self.at['sink']}:5560"
        self._enroll(folder)
        self.memory = {"ventilator": 0, "sink": 0}
        self.descriptors = {"ventilator": 0, "sink": 0}
        with self.switch.at("sink"):
            self.grid.sink(bind="tcp://*:5560", intake_port=5561, keys=folder / "sink" / "sink.key")
        chain = [f"marked:work_ms={work_ms}"]
        self.grid.ventilator(folder / "in", bind="tcp://*:5550", keys=folder / "keys", filter=chain)
        for name in ("w1", "w2"):
            with self.switch.at(name):
                self.grid.worker(name, keys=folder / name / f"{name}.key")
        self.grid.until_joined("w1", "w2")

    def _enroll(self, folder):
        """As README says: init, enroll, and carry each file to its machine."""
        keys = folder / "keys"
        self._zgrid("keys", "init", f"--keys={keys}")
        for name in ("w1", "w2"):
            self._zgrid("keys", "enroll", name, f"--keys={keys}")
        for name in ("w1", "w2", "sink"):
            (folder / name).mkdir()
            (keys / f"{name}.key").rename(folder / name / f"{name}.key")
        self.grid.key = read_key(keys / "operator.key")

    def _zgrid(self, *words):
        subprocess.run(
            [sys.executable, "-m", "zgrid", *words], check=True, capture_output=True, env=self.grid.environment
        )

    # -- measuring

    def look(self):
        """Note memory and descriptors of ventilator and sink; return both of them."""
        for role in self.memory:
            pid = self.grid.processes[role].popen.pid
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            self.memory[role] = max(self.memory[role], pages * 4096)
            self.descriptors[role] = max(self.descriptors[role], len(list(Path(f"/proc/{pid}/fd").iterdir())))
        return dict(self.memory), dict(self.descriptors)

    def stored(self):
        """Return how many jobs are stored."""
        return self.grid.counts()[State.STORED]

    def pace(self, seconds):
        """Watch for so long; return how many jobs were stored in each second."""
        began, before = time.monotonic(), self.stored()
        self.grid.until(lambda: self.look() and time.monotonic() - began >= seconds, seconds + 30)
        return (self.stored() - before) / (time.monotonic() - began)

    def attack(self, seconds):
        """Have the uninvited host do its worst for so long; return what it did, and the jobs stored in each second."""
        targets, servers = self._targets()
        captured = self.tap.heard(self.at["w1"], self.at["ventilator"], 5550)
        captured += self.tap.heard(self.at["w2"], self.at["sink"], 5561)
        self.tap.stop()
        assert captured, "nothing was captured"
        order = {
            "targets": targets, "servers": servers, "seconds": seconds, "held": HELD,
            "captured": [text.hex() for text in captured],
        }  # fmt: skip
        with self.switch.at("uninvited"):
            host = subprocess.Popen(
                [sys.executable, UNINVITED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        try:
            host.stdin.write(json.dumps(order))
            host.stdin.close()
            pace = self.pace(seconds)
            self.grid.until(lambda: host.poll() is not None, 60, "the uninvited host ends")
            return json.loads(host.stdout.read()), pace
        finally:
            host.kill()
            host.wait()
            host.stdout.close()

    def _targets(self):
        """Return every port that ventilator and sink listen at, lanes too, and the keys that their callers know."""
        targets, servers = [], []
        for role in ("ventilator", "sink"):
            for port in sorted(listening_ports(self.grid.processes[role].popen.pid)):
                targets.append((self.at[role], port))
                own = "keys/ventilator.key" if role == "ventilator" else "sink/sink.key"
                servers.append(read_key(self.grid.folder / own).public)
        return targets, servers

    def doors(self):
        """Return what ventilator and sink together say about who came, and who was kept out."""
        answers = [self.grid.status(address, 10_000) for address in (self.grid.address, self.grid.sink_address)]
        return {name: sum(answer["door"][name] for answer in answers) for name in answers[0]["door"]}


def told(stack, folder, seconds, jobs_per_s):
    """Besiege a grid for so long; return a table of what came of it, and whether all is well."""
    siege = Siege(stack, folder, int(jobs_per_s * (seconds * 1.3 + 15)))
    stack.push(lambda kind, *_: siege.grid.end(failed=kind is not None))
    siege.grid.until(lambda: siege.stored() > 100, what="some are stored")
    before, _ = siege.look()
    calm = siege.pace(max(5, seconds / 4))
    done, pace = siege.attack(seconds)
    memory, descriptors = siege.look()
    doors = siege.doors()
    counts = siege.grid.until_settled(siege.jobs, 600.0)
    joined = {line["worker"] for line in siege.grid.processes["ventilator"].events("worker_joined")}
    rows = len(siege.grid.rows())
    grown = {role: (memory[role] - before[role]) / MIB for role in memory}
    refused = doors["foreign"] + doors["refused"]
    lines = {
        "sent at it": f"{done['bytes'] / MIB:,.0f} MiB over {done['connections']:,} connections, in {seconds} s",
        "of these hung up on by the grid": f"{done['hung up on']:,}",
        "turned away for their keys, or for having none": f"{refused:,} times, {done['pretenders']:,} peers of ZeroMQ",
        "cut because too many stood at a door, or sent too much": f"{doors['cut']:,}",
        "let in, answers got": f"{len(joined - {'w1', 'w2'})}, {done.get('answers', 0)}",
        "jobs a second before and meanwhile": f"{calm:.1f} and {pace:.1f} ({pace / calm:.2f} x)",
        "jobs stored, of all": f"{counts[State.STORED]:,} of {siege.jobs:,}, {rows:,} rows",
        "memory of ventilator and sink, grown by": f"{grown['ventilator']:.0f} and {grown['sink']:.0f} MiB",
        "most descriptors of ventilator and sink": f"{descriptors['ventilator']:,} and {descriptors['sink']:,}",
    }
    is_well = (
        counts[State.STORED] == rows == siege.jobs
        and joined == {"w1", "w2"}
        and not done.get("answers")
        and max(grown.values()) < GROWTH_MIB_MAX
        and max(descriptors.values()) < DESCRIPTORS_MAX
    )
    return "| what | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in lines.items()), is_well
