"""Who may come in, at real sockets: lanes with one owner, names that cannot be taken, lists that change, floods."""

import socket
import threading
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest
import zmq
from gatehouse import Gatehouse, until

from zgrid.protocol import wire
from zgrid.protocol.messages import Beat, Hello, Question, Refuse, Who
from zgrid.transport.arrivals import Arrivals
from zgrid.transport.doors import SILENT_MAX, STRANGER_BYTES_MAX
from zgrid.transport.sockets import control_dealer

LEDGER = bytes(range(16))


def hello(caller, role="worker", **other):
    """Return the HELLO of a caller."""
    return Hello(**{"role": role, "name": "odd", "boot": caller.boot, "host": "h", **other})


def joined(house, name, gate="ventilator", role="worker", **other):
    """Return a caller that was let in and whose HELLO was heard."""
    caller = house.caller(name, gate)
    caller.say(hello(caller, role, **other))
    house.until(lambda: (caller.boot, hello(caller, role, **other)) in house.heard[gate], f"{name} is heard")
    return caller


def beats(house, number):
    """Return the peer and message of each BEAT at the ventilator, once there are so many."""
    found = []

    def heard():
        found[:] = [one for one in house.heard["ventilator"] if type(one[1]) is Beat]
        return len(found) == number

    house.until(heard, f"{number} beats are heard")
    return found


# -- lanes


@pytest.mark.parametrize("name", ["w2", "anna", "photos2", "sink"])
def test_lane_has_one_owner(house, name):
    """A lane lets in the worker that it was made for, and neither another worker nor any other role."""
    port = int(house.lanes.open(7, house.keys["w1"].public).rpartition(":")[2])
    server = house.guard.key.public
    other = house.call(zmq.PULL, port, house.keys[name].curve(server))
    house.until(lambda: other.is_out, "the other is turned away")
    assert not house.signals, "the lane was taken for connected"
    owner = house.call(zmq.PULL, port, house.keys["w1"].curve(server))
    house.until(lambda: house.signals == [(7, True)], "its worker is there")
    house.lanes.send(7, [b"a", b"b"])
    house.until(lambda: owner.socket.poll(0), "its worker gets what was sent")
    assert not other.socket.poll(0)
    assert not other.is_in


def test_lane_without_an_owner_and_closed_lane(house):
    """A lane whose worker has no key lets nobody in, and neither does the name of one that was closed."""
    port = int(house.lanes.open(1, None).rpartition(":")[2])
    caller = house.call(zmq.PULL, port, house.keys["w1"].curve(house.guard.key.public))
    house.until(lambda: caller.is_out, "it is turned away")
    house.lanes.open(2, house.keys["w1"].public)
    house.lanes.close(2)
    assert house.guard._verdict("lane-2", house.keys["w1"].public) is False
    assert house.guard._verdict("lane-99", house.keys["w1"].public) is False


# -- names that cannot be taken


@pytest.mark.parametrize("taken", ["the ROUTER's name for it", "its own"])
def test_name_of_another_cannot_be_taken(house, taken):
    """Whoever calls itself like another gets nothing of what is meant for that one, and does not disturb it at all."""
    honest = joined(house, "w1")
    assert honest.socket.routing_id == b"", "with keys nobody has a name of its own choice"
    ((route, _, _),) = house.posts["ventilator"]._ways.values()
    identity = honest.boot if taken == "its own" else route
    thief = house.caller("w2", "ventilator", identity=identity)
    thief.say(hello(thief, boot=honest.boot))
    thief.say(Beat(boot=LEDGER[:8], lane=7))
    house.until(lambda: thief.is_in, "the thief is connected")
    if identity == honest.boot:  # libzmq does not even read from one whose name is in use
        house.until(lambda: house.posts["ventilator"].dropped["refused"] == 2, "what the thief says is refused")
        assert {who for _, who, _ in house.refusals} == {"w2"}
    assert house.posts["ventilator"].send(Who(boot=LEDGER[:8]), honest.boot)
    until(honest.answers, "the honest one hears what is meant for it")
    honest.say(Beat(boot=LEDGER[:8], lane=8))
    house.until(lambda: len(house.heard["ventilator"]) == 2, "the honest one is heard")
    assert house.heard["ventilator"][1] == (honest.boot, Beat(boot=LEDGER[:8], lane=8))
    assert not thief.answers()
    assert honest.look()[zmq.EVENT_DISCONNECTED] == 0


def test_reconnected_is_known_again(house):
    """A process whose connection was lost is the same one on the next, before it says who it is."""
    first = joined(house, "w1")
    house.lane_owners[7] = first.boot
    again = house.caller("w1", "ventilator")
    first.close()
    again.say(Beat(boot=LEDGER[:8], lane=7))
    house.until(lambda: (first.boot, Beat(boot=LEDGER[:8], lane=7)) in house.heard["ventilator"], "it is the same peer")
    house.posts["ventilator"].send(Who(boot=LEDGER[:8]), first.boot)
    until(again.answers, "what is meant for it goes to the new connection")


def test_restarted_is_one_process_again(house):
    """Once its first process is not known any more, a key has one process, which may reconnect without being asked."""
    first, second, follower = joined(house, "w1"), joined(house, "w1"), joined(house, "photos2", role="ventilator")
    post = house.posts["ventilator"]
    post.say_last(Refuse(reason="gone", final=True), first.boot)
    post.keep({second.boot}, "worker")
    assert len(post.peers(house.keys["w1"].public)) == 2, "one that has still to be hung up on was forgotten"
    post.hang_up(first.boot)
    post.keep({second.boot}, "worker")
    assert post.peers(house.keys["w1"].public) == [second.boot]
    assert post.peers(house.keys["photos2"].public) == [follower.boot], "what has another role was forgotten"
    house.lane_owners[7] = second.boot
    again = house.caller("w1", "ventilator")
    second.close()
    again.say(Beat(boot=LEDGER[:8], lane=7))
    house.until(lambda: (second.boot, Beat(boot=LEDGER[:8], lane=7)) in house.heard["ventilator"], "it is the second")


def test_two_processes_of_one_key_are_told_apart(house):
    """With two processes of one key, a connection that has not said which it is counts for neither."""
    first, second = joined(house, "w1"), joined(house, "w1")
    house.lane_owners |= {7: first.boot, 8: second.boot}
    third, again = house.caller("w1", "ventilator"), house.caller("w1", "ventilator")
    third.say(Beat(boot=LEDGER[:8]))
    second.close()
    again.say(Beat(boot=LEDGER[:8], lane=8))
    said = {message.lane: peer for peer, message in beats(house, 2)}
    assert said[0] not in {first.boot, second.boot}
    assert said[8] == second.boot


def test_the_only_process_known_of_a_key_may_be_another(house):
    """Where only one of a key's processes is known by now, what another one says does not pass for that one's."""
    first = joined(house, "w1")
    house.lane_owners[7] = first.boot
    second = house.caller("w1", "ventilator")
    second.say(Beat(boot=LEDGER[:8], lane=6))  # of a lane that is gone
    ((peer, _),) = beats(house, 1)
    assert peer != first.boot
    house.posts["ventilator"].send(Who(boot=LEDGER[:8]), peer)
    until(second.answers, "it is asked who it is")
    house.posts["ventilator"].send(Refuse(reason="for the first"), first.boot)
    until(first.answers, "the first one is still where it was")


def test_lane_of_another_key_is_nobodys(house):
    """Whoever names the lane of a worker with another key does not pass for that one."""
    first = joined(house, "w1")
    house.lane_owners[7] = first.boot
    other = house.caller("w2", "ventilator")
    other.say(Beat(boot=LEDGER[:8], lane=7))
    ((peer, _),) = beats(house, 1)
    assert peer != first.boot


def test_ledger_of_another_cannot_be_taken(house):
    """At a sink, a second ventilator cannot say HELLO with the ledger of the first, and so gets none of its ACKS."""
    joined(house, "photos", "sink", "ventilator", ledger=LEDGER)
    thief = house.caller("photos2", "sink")
    thief.say(hello(thief, "ventilator", ledger=LEDGER))
    house.until(lambda: house.posts["sink"].dropped["refused"], "it is refused")
    assert "ledger of another" in house.refusals[-1][2]
    joined(house, "photos2", "sink", "ventilator", ledger=LEDGER[::-1])


def test_ledger_passes_to_a_new_key(house):
    """A ventilator that was enrolled anew keeps its ledger; at a ventilator nothing is noted of what workers say."""
    joined(house, "photos2", "sink", "ventilator", ledger=LEDGER)
    house.allow("photos", "w1")
    joined(house, "photos", "sink", "ventilator", ledger=LEDGER)
    joined(house, "w1", ledger=LEDGER)
    assert not house.posts["ventilator"]._ledgers


# -- lists that change


def test_revoked_is_put_out_at_once_and_others_stay(house):
    """Off the list, a peer is heard no more, is told, cut off, and not let in again; nobody else notices anything."""
    gone, stays = joined(house, "w1"), joined(house, "w2")
    post = house.posts["ventilator"]
    assert {one.name for one in house.allow("photos", "w2", "anna")} == {"photos2", "sink", "sink2", "operator", "w1"}
    (peer,) = post.peers(house.keys["w1"].public)
    post.say_last(Refuse(reason="gone", final=True), peer)
    gone.say(Beat(boot=LEDGER[:8]))
    until(lambda: Refuse(reason="gone", final=True) in gone.answers(), "it is told")
    post.hang_up(peer)
    house.until(lambda: gone.is_out, "it is cut off, and turned away when it comes again")
    house.heard["ventilator"].clear()
    stays.say(Beat(boot=LEDGER[:8]))
    house.until(lambda: house.heard["ventilator"], "the other is heard")
    assert house.heard["ventilator"] == [(stays.boot, Beat(boot=LEDGER[:8]))]
    assert stays.look()[zmq.EVENT_DISCONNECTED] == 0


def test_what_a_revoked_key_says_is_dropped_and_its_connection_cut(house):
    """Even where nobody hangs up, the first message after the list has changed is dropped and ends the connection."""
    gone = joined(house, "w1")
    house.allow("photos", "w2")
    house.heard["ventilator"].clear()
    gone.say(Beat(boot=LEDGER[:8]))
    house.until(lambda: gone.look()[zmq.EVENT_DISCONNECTED], "its connection is cut")
    assert not house.heard["ventilator"]
    assert house.posts["ventilator"].dropped["refused"] == 1


def test_changed_role_is_a_revocation(house):
    """Who is on the list with another role than before is put out, and comes in as what it is now."""
    caller = joined(house, "w1")
    members = [one._replace(role="operator") if one.name == "w1" else one for one in house.guard.members.values()]
    assert [one.name for one in house.guard.allow(members)] == ["w1"]
    caller.say(Beat(boot=LEDGER[:8]))
    house.until(lambda: house.posts["ventilator"].dropped["refused"], "it has no right to that any more")


def test_unknown_waits_for_the_list_that_names_it(tmp_path):
    """A patient guard lets somebody wait whom no list names yet, lets it in when one does, and refuses it else."""
    house = Gatehouse(tmp_path / "keys", patient=True)
    try:
        house.allow("photos")
        early, never = house.caller("w1", "intake"), house.caller("w2", "intake")
        house.until(lambda: len(house.guard._waiting) == 2, "both wait")
        assert not early.is_out
        house.allow("photos", "w1")
        house.until(lambda: early.is_in, "the one that is named now is let in")
        house.until(lambda: never.is_out, "the other is turned away in the end")
        assert not never.is_in
    finally:
        house.close()


def test_nobody_is_let_in_while_nobody_judges(house):
    """As long as the loop does not turn, and before there is a list, a connection waits and is let in nowhere."""
    caller = house.caller("w1", "ventilator")
    caller.say(Question(id=1, body={}))
    until(lambda: caller.look()[zmq.EVENT_CONNECTED], "it is connected")
    until(lambda: caller.is_out or caller.is_in, "its handshake ends", 20.0)
    assert not caller.is_in
    house.guard.allow([])
    other = house.caller("w2", "ventilator")
    house.until(lambda: other.is_out, "with an empty list nobody is let in")


def test_who_is_turned_away_says_why_and_tries_again(house):
    """libzmq gives up where it was told no; a role says why, dials again, and is let in once it is on the list."""
    house.guard.allow([])
    key, address = house.keys["w1"], f"tcp://127.0.0.1:{house.ports['ventilator']}"
    dealer = control_dealer(house.callers, b"", address, monitored=True, curve=key.curve(house.guard.key.public))
    with closing(dealer), closing(Arrivals(dealer, address, keyed=True)) as arrivals:
        house.until(lambda: arrivals.take() or arrivals.refused, "it is turned away")
        assert "was never enrolled there, or is revoked" in arrivals.trouble
        house.allow()
        house.until(lambda: arrivals.redial() or arrivals.take(), "it is let in")
        assert not arrivals.trouble
        dealer.send_multipart(wire.encode(Beat(boot=LEDGER[:8])))
        house.until(lambda: house.heard["ventilator"], "and heard")


# -- the wire


def test_captured_bytes_are_worth_nothing(house):
    """All that a worker has sent, sent again by somebody else, byte for byte, brings no message and no acceptance."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        captured = bytearray()
        thread = threading.Thread(target=tap, args=(listener, house.ports["ventilator"], captured))
        thread.start()
        stack.callback(thread.join)
        caller = house.call(zmq.DEALER, listener.getsockname()[1], house.keys["w1"].curve(house.guard.key.public))
        caller.say(hello(caller))
        house.until(lambda: house.heard["ventilator"], "the worker is heard through the tap")
        caller.close()
    accepted = house.guard.invited.copy()
    house.heard["ventilator"].clear()
    house.guard.invited.clear()
    assert accepted
    assert len(captured) > 400
    for start in (0, 64):  # all of it, and all behind the greeting
        with socket.create_connection(("127.0.0.1", house.ports["ventilator"])) as thief:
            thief.sendall(captured[:64] + captured[start:] if start else captured)
            house.until(lambda thief=thief: ended(thief), "the thief is hung up on")
    assert not house.heard["ventilator"]
    assert not house.guard.invited, "captured bytes were accepted"


def tap(listener, port, captured):
    """Carry one connection to a port, and keep what goes there."""
    near, _ = listener.accept()
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=carry, args=(far, near, bytearray()))
        back.start()
        carry(near, far, captured)
        far.shutdown(socket.SHUT_RDWR)
        back.join()


def carry(source, target, kept):
    """Carry bytes until either end is closed."""
    try:
        while data := source.recv(1 << 16):
            kept += data
            target.sendall(data)
    except OSError:
        return


def ended(link):
    """Whether the other side has hung up."""
    link.setblocking(False)
    try:
        while link.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


# -- floods


def test_flood_of_silent_connections_leaves_room(house):
    """Of thousands that connect and say nothing only so many stay, the oldest go, and a worker still gets in."""
    port, door = house.ports["ventilator"], house.doors["ventilator"]
    with ExitStack() as stack:
        links = []
        for number in range(SILENT_MAX * 3):
            links.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            if number % 64 == 0:
                house.turn()
        house.until(lambda: door.counts["accepted"] >= len(links), "all were accepted")
        house.until(lambda: door.crowd <= SILENT_MAX, "no more than so many are left")
        assert door.counts["cut"] >= len(links) - SILENT_MAX
        joined(house, "w1")
        assert ended(links[0]), "the oldest is still there"


def test_stranger_that_sends_without_end_is_cut(house):
    """Before it has shown a key, nobody can make us keep more than a handshake: a frame of 400 MB is never taken in."""
    greeting = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)
    with socket.create_connection(("127.0.0.1", house.ports["intake"])) as link:
        link.sendall(greeting + b"\x06" + (400 << 20).to_bytes(8, "big"))
        link.setblocking(False)
        sent = 0

        def cut():
            nonlocal sent
            try:
                sent += link.send(bytes(1 << 16))
            except BlockingIOError:
                return False
            except OSError:
                return True
            return False

        house.until(cut, "it is cut")
        assert sent < 64 << 20
        assert sent >= STRANGER_BYTES_MAX


def test_host_that_has_shown_a_key_may_send_long_messages(house):
    """A long first message of somebody who was let in is no flood."""
    caller = house.caller("w1", "ventilator")
    message = hello(caller, filters={str(number): "x" * 256 for number in range(256)})
    assert sum(map(len, message.filters.values())) > STRANGER_BYTES_MAX // 2
    caller.say(replace(message, name="n"))
    caller.say(replace(message, name="m"))
    house.until(lambda: len(house.heard["ventilator"]) == 2, "both are heard")
    assert not house.doors["ventilator"].counts["cut"]


def test_flood_at_a_lane_is_cut_and_the_worker_stays(house):
    """At a lane whose worker is there only a few strangers may stand about, and it is none of them that is cut."""
    port = int(house.lanes.open(3, house.keys["w1"].public).rpartition(":")[2])
    owner = house.call(zmq.PULL, port, house.keys["w1"].curve(house.guard.key.public))
    house.until(lambda: house.signals, "its worker is there")
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(100)]
        house.until(lambda: sum(map(ended, links)) >= 80, "most are cut")
        house.lanes.send(3, [b"still"])
        house.until(lambda: owner.socket.poll(0), "the lane works")
        assert house.signals == [(3, True)]
