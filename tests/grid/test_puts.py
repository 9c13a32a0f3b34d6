"""Images that are put into a running grid: durable when answered, done in their order, refused with a reason."""

import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
import zmq
from by_hand import await_answers, await_state, image, sent_in_order, state_of
from harness import query
from small_disks import Disks

from zgrid import Client, Placed
from zgrid.errors import RefusedError, SettingsError
from zgrid.protocol import wire
from zgrid.protocol.job import State
from zgrid.protocol.messages import Put
from zgrid.transport.client import UnansweredError

pytestmark = pytest.mark.grid


def test_thousand_images_are_on_disk_when_they_are_answered(grid, client):
    """A thousand images put from Python survive kill -9 right after the last answer, and are all done once."""
    images = [image() for _ in range(1000)]
    placed = list(client.put_many(images))
    grid.kill("ventilator")
    assert len({one.job for one in placed}) == grid.counts()[State.READY] == 1000
    assert query(grid.ledger, "SELECT count(*), sum(length(image)) FROM spool") == [
        (1000, sum(len(data) for _, data in images))
    ]
    grid.restart("ventilator")
    grid.worker(procs=2)
    grid.sink()
    assert grid.until_settled(1000)[State.STORED] == 1000
    names = {uri.rpartition("/")[2] for uri in grid.rows()}
    assert names == {name for name, _ in images}
    assert query(grid.ledger, "SELECT count(*) FROM spool") == [(0,)]
    again = list(client.put_many(images))
    assert again == [Placed(one.job, known=True, state="stored") for one in placed]


@pytest.mark.parametrize("by_reference", [False, True])
def test_put_beside_a_source(grid, tmp_path, by_reference):
    """What is put and what a source has are done side by side, whether workers read the source themselves or not."""
    folder = tmp_path / "in"
    folder.mkdir()
    for _ in range(20):
        name, data = image()
        (folder / name).write_bytes(data)
    grid.ventilator(folder, filter=["marked"], by_reference=by_reference)
    grid.until(lambda: sum(grid.counts().values()) == 20, what="the source's are accepted")
    with Client(grid.address, 20_000) as client:
        for _ in range(20):  # one by one, so that batches have some of both
            client.put(image(), priority=0)
    grid.worker()
    grid.sink()
    grid.until_settled(40)
    schemes = sorted(uri.partition(":")[0] for uri in grid.rows())
    assert schemes == ["file"] * 20 + ["put"] * 20


def test_urgent_first_then_oldest(grid):
    """Jobs are sent strictly by priority, and by age within one."""
    grid.ventilator(filter=["marked"], batch_jobs_max=1)  # the history keeps no order within a message
    await_answers(grid)
    with Client(grid.address, 20_000) as client:
        client.pause()
        placed = [(priority, client.put(image(), priority=priority).job) for priority in (5, 0, -7, 5, -7, 0)]
        grid.worker()
        grid.sink()
        grid.until_joined("w1")
        client.resume()
        grid.until_settled(6)
    assert sent_in_order(grid) == [job for _, job in sorted(placed)]


def test_delay_is_kept_and_kicked(grid, client):
    """A delayed job is sent when its time has come, not before, also after a restart; kicked, it is ready at once."""
    grid.worker()
    grid.sink()
    grid.until_joined("w1")
    soon, late = client.put(image(), delay_s=2.0).job, client.put(image(), delay_s=86_400).job
    due_ms = client.peek(soon)["job"]["due_ms"]
    assert client.peek(state="delayed")["job"]["seq"] == soon
    assert grid.kill("ventilator")
    grid.restart("ventilator")
    await_state(grid, client, soon, "stored")
    (sent_ms,) = [one.at_ms for one in grid.history() if one.event == "sent"]
    assert sent_ms >= due_ms
    assert state_of(client, late) == "delayed"
    assert client.kick(late).changed == 1
    await_state(grid, client, late, "stored")


def test_terms_of_its_own(grid, client, tmp_path):
    """Chain, time-to-run and attempts of a job are its own, beside others with the ventilator's."""
    grid.worker(procs=2)
    grid.sink()
    plain, own = client.put(image()).job, client.put(image(), chain=["marked:work_ms=1", "look"]).job
    hangs = client.put(image(f"wait {tmp_path}/never"), ttr_ms=400, attempts=1).job
    dies = client.put(image("segv"), attempts=2).job
    for job, reason in ((hangs, "400 ms"), (dies, "signal 11")):
        grid.until(lambda job=job: state_of(client, job) == "buried", what=f"job {job} is buried")
        assert reason in client.peek(job)["job"]["reason"]
    assert client.why(hangs)["counts"]["overran"] == 1
    assert client.why(dies)["counts"]["crashed"] == 2
    for job in (plain, own):
        await_state(grid, client, job, "stored")
    chains = dict(query(grid.database, "SELECT seq, chain FROM images"))
    assert chains == {plain: "marked", own: "marked:work_ms=1 look"}
    told = {one["chain"]: one["counts"]["stored"] for one in client.status()["chains"]}
    assert told == {"marked": 1, "marked:work_ms=1 look": 1}


def test_filters_that_no_worker_has_are_told(grid, client, tmp_path):
    """A mistyped filter is told at once, not only by who asks why nothing happens; the job waits for it."""
    (tmp_path / "one.jpg").write_bytes(image()[1])
    command = [sys.executable, "-m", "zgrid", "put", grid.address, str(tmp_path / "one.jpg"), "--filter=look"]
    nobody = subprocess.run(command, env=grid.environment, capture_output=True, text=True, check=True)
    assert nobody.stderr == "", "without any worker there is nothing to tell from"
    grid.worker()
    grid.until_joined("w1")
    for filters, told in (
        ([], ""),
        (["--filter=markt:work_ms=1", "--filter=nul"], "zgrid: no worker has markt or nul: "),
    ):
        done = subprocess.run([*command, *filters], env=grid.environment, capture_output=True, text=True, check=True)
        assert done.stderr.startswith(told)
        assert bool(done.stderr) == bool(told)
    assert len(client.jobs()) == 1


def test_put_to_a_sink_says_that_it_is_one(grid):
    """A sink takes no images, and says nothing to them: the tool finds out who is there."""
    grid.sink()
    with Client(grid.sink_address, 20_000) as client:
        grid.until(lambda: client.status()["role"] == "sink", what="the sink answers")
    with (
        Client(grid.sink_address, 300) as client,
        pytest.raises(SettingsError, match="is a sink's, which takes no images: put them to a ventilator"),
    ):
        client.put(image())


def test_buried_keeps_its_image(grid, client):
    """The bytes of a buried job are kept, so it can be kicked; those of a discarded one are not, and retry says so."""
    grid.worker()
    grid.sink()
    bad, dropped = client.put(image("fail bad")).job, client.put(image("discard no")).job
    grid.until_settled(2)
    await_state(grid, client, bad, "buried")
    assert client.kick(bad).changed == 1
    grid.until(lambda: client.why(bad)["counts"]["failed"] == 2, what="it was tried again")
    assert client.retry(dropped).unchanged == [
        (str(dropped), "its image is not kept any more: put it again under another name")
    ]


def test_put_that_comes_twice(grid, client):
    """A message of images that is sent again is answered as before, whoever sends it, and accepted once."""
    (first, data), (second, more) = image(), image()
    frames = wire.encode(Put(id=3, names=[first, second, first], images=(data, more, data), delay_ms=3_600_000))
    answers = []
    with zmq.Context() as context:
        for _ in range(2):
            with context.socket(zmq.DEALER) as tool:
                tool.linger = 0
                tool.connect(grid.address)
                for _ in range(2):
                    tool.send_multipart(frames)
                    assert tool.poll(20_000)
                    answers.append(wire.decode(tool.recv_multipart()).body)
    assert answers[0] == answers[1]
    assert answers[0]["known"] == [False, False, True]
    assert answers[2] == answers[3] == {**answers[0], "known": [True] * 3}
    assert answers[0]["states"] == ["delayed"] * 3
    assert client.status()["accepted"] == 2


def test_what_cannot_be_put(grid, tmp_path):
    """What is no image, too large, or of a chain that cannot be is refused with a sentence; the others are put."""
    grid.ventilator(filter=["marked"], job_bytes_max=5000)
    await_answers(grid)
    with Client(grid.address, 20_000) as client:
        for wrong, said in (
            (lambda: client.put(b"no image at all"), "is no image"),
            (lambda: client.put(image()[1] + bytes(6000), "big.jpg"), "big.jpg has 6"),
            (lambda: client.put(image(), chain="marked:"), "is no filter"),
            (lambda: client.put(tmp_path / "gone.jpg"), "gone.jpg cannot be read: No such file"),
        ):
            with pytest.raises((SettingsError, RefusedError)) as caught:
                wrong()
            assert said in str(caught.value)
        large = [image()[1] + bytes(6000) for _ in range(3)]
        mixed = [image(), large[0], image(), ("text", b"text"), large[1], large[2], image()]
        refused = []
        placed = list(client.put_many(mixed, on_refused=lambda one, error: refused.append((one, str(error)))))
        assert len(placed) == 3
        assert sorted(mixed.index(one) for one, _ in refused) == [1, 3, 4, 5]
        assert client.status()["accepted"] == 3
        with pytest.raises(RefusedError, match=r"6\d+ bytes"):
            list(client.put_many(large))


def test_strangers_image_is_checked_here(grid, client):
    """A tool that checks nothing gets its sentence all the same, and none of its message is accepted."""
    name, data = image()
    with zmq.Context() as context, context.socket(zmq.DEALER) as tool:
        tool.linger = 0
        tool.connect(grid.address)
        for number, (names, images, said) in enumerate(
            (
                (["a", "b"], (data, b"text"), "b is no image"),
                (["a.zip"], (b"PK\x03\x04" + bytes(100),), "a.zip is an archive (zip)"),
                ([name], (data,), None),
            )
        ):
            tool.send_multipart(wire.encode(Put(id=number, names=names, images=images)))
            assert tool.poll(20_000)
            body = wire.decode(tool.recv_multipart()).body
            assert said is None or said in body["error"]
    assert client.status()["accepted"] == 1


@pytest.fixture
def disks():
    """Disks that this test alone can see."""
    with ExitStack() as stack:
        yield Disks(stack)


def test_full_disk_refuses(grid, disks, tmp_path):
    """While the ledger's disk is full, images and operations are refused with a sentence; with space they are taken."""
    home = disks.small(tmp_path / "small", 4 << 20)
    grid.ledger = home / "ledger.sqlite"
    ventilator = grid.ventilator(filter=["marked"])
    await_answers(grid)
    with Client(grid.address, 20_000) as client:
        job = client.put(image(), delay_s=3600).job
        disks.fill(home)
        name, data = image()
        data += bytes(200_000)
        for refused in (lambda: client.put(data, name), lambda: client.put(data, name)):
            with pytest.raises(RefusedError, match="no space is left for"):
                refused()
        assert any("no space is left" in one for one in client.status()["waiting"]) or not client.status()["waiting"]
        disks.free(home)
        placed = grid.until(lambda: put_if_taken(client, name, data), what="it is taken")
        assert not placed.known
        assert client.cancel(job).changed == 1
        assert client.status()["accepted"] == 2
    assert ventilator.events("disk_full")


def put_if_taken(client, name, data):
    """Put an image; return nothing while it is refused."""
    try:
        return client.put(data, name)
    except RefusedError:
        return None


def test_many_tools_at_once(grid, client):
    """Several tools put at the same time; each gets its own answers, and every image is there once."""
    done = []

    def put_some():
        with Client(grid.address, 20_000) as mine:
            done.append([mine.put(image(), delay_s=3600).job for _ in range(25)])

    threads = [threading.Thread(target=put_some) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job for jobs in done for job in jobs}) == client.status()["accepted"] == 150


def test_nobody_answers(grid):
    """A client whose ventilator is not there says so after its patience."""
    with Client(grid.address, 300) as client, pytest.raises(UnansweredError, match="nobody answers"):
        client.put(image())
