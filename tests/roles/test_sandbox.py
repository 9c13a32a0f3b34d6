"""What a child may still do: a process enters the sandbox, tries one thing after the other, and tells what it got."""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
from pool_rig import Rig

from zgrid.filters.magick import POLICY_FOLDER
from zgrid.protocol.messages import Code
from zgrid.roles import landlock
from zgrid.roles.pool import Ready
from zgrid.roles.sandbox import DESCRIPTORS_MAX, CpuLimit, Sandbox

pytestmark = pytest.mark.grid

PRELUDE = """
import json, os, sys
from zgrid.roles.sandbox import CpuLimit, Sandbox
exposed = Sandbox({options}).enter()
tried = {{"exposed": exposed}}

def attempt(name, action):
    try:
        tried[name] = str(action())
    except BaseException as error:
        tried[name] = type(error).__name__
"""


def tries(body, **options):
    """Return what came of each attempt in a new process that has entered a sandbox with these options."""
    words = ", ".join(f"{name}={value!r}" for name, value in options.items())
    code = PRELUDE.format(options=words) + textwrap.dedent(body) + "\nprint(json.dumps(tried))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole():
    """Skip where the kernel has not all that a sandbox needs: what is missing is told, which another test sees."""
    exposed = tries("")["exposed"]
    if exposed:
        pytest.skip(f"this kernel cannot: {exposed}")


FILES = """
attempt("passwd", lambda: open("/etc/passwd").read(10))
attempt("home", lambda: os.listdir(os.path.expanduser("~")))
attempt("folder", lambda: open(sys.argv[0] if False else PLACE + "/there").read())
attempt("write", lambda: open(PLACE + "/new", "w").write("x"))
attempt("make", lambda: os.mkdir(PLACE + "/folder"))
attempt("mode", lambda: os.chmod(PLACE + "/there", 0o600))
attempt("owner", lambda: os.chown(PLACE + "/there", os.getuid(), os.getgid()))
attempt("owner of a link", lambda: os.lchown(PLACE + "/there", os.getuid(), os.getgid()))
attempt("times", lambda: os.utime(PLACE + "/there", (1, 1)))
attempt("short", lambda: os.truncate(PLACE + "/there", 5))
attempt("attribute", lambda: os.setxattr(PLACE + "/there", "user.a", b"b"))
attempt("no attribute", lambda: os.removexattr(PLACE + "/there", "user.a"))
attempt("mode of a library", lambda: os.fchmod(os.open(os.__file__, os.O_RDONLY), os.stat(os.__file__).st_mode))
attempt("remove", lambda: os.unlink(PLACE + "/there"))
attempt("link", lambda: os.symlink("/etc/passwd", PLACE + "/link"))
attempt("library", lambda: len(open(os.__file__).read()) > 0)
attempt("null", lambda: open("/dev/null", "w").write("x"))
attempt("parent", lambda: open(f"/proc/{os.getppid()}/environ").read())
import subprocess
attempt("program", lambda: subprocess.run(["cat", "/etc/passwd"], capture_output=True).returncode)
"""


CHANGES = ("mode", "owner", "owner of a link", "times", "short", "attribute", "no attribute", "mode of a library")
"""What changes files without opening them."""


def test_files(whole, tmp_path):
    """A child sees Python and its libraries, and nothing else; nor does what it starts. It writes nothing."""
    (tmp_path / "there").write_text("there")
    found = tries(f"PLACE = {str(tmp_path)!r}\n" + FILES)
    names = ("passwd", "home", "folder", "write", "make", "remove", "link", "parent", *CHANGES)
    denied = dict.fromkeys(names, "PermissionError")
    assert found == {"exposed": [], **denied, "library": "True", "null": "1", "program": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_files_that_the_operator_names(whole, tmp_path):
    """--child-read is read, --child-write is written and is where temporary files go; links out lead nowhere."""
    (tmp_path / "there").write_text("there")
    found = tries(f"PLACE = {str(tmp_path)!r}\n" + FILES, read=(str(tmp_path),))
    assert (found["folder"], found["write"], found["remove"]) == ("there", "PermissionError", "PermissionError")
    assert {found[name] for name in CHANGES} == {"PermissionError"}
    more = """
    import tempfile
    attempt("link again", lambda: open(PLACE + "/link").read())
    attempt("temporary", lambda: tempfile.gettempdir() == PLACE and tempfile.TemporaryFile().write(b"xy"))
    """
    found = tries(f"PLACE = {str(tmp_path)!r}\n" + FILES + textwrap.dedent(more), write=(str(tmp_path),))
    assert (found["folder"], found["write"], found["remove"]) == ("there", "1", "None")
    assert {found[name] for name in ("mode", "owner", "times", "short")} == {"None"}
    assert (found["passwd"], found["link again"], found["temporary"]) == ("PermissionError", "PermissionError", "2")


NETWORK = """
import ctypes, resource, socket, threading
for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"):
    attempt(family, lambda: socket.socket(getattr(socket, family), socket.SOCK_RAW if family[3] in "NP" else 1))
attempt("pair", lambda: len(socket.socketpair()))
for kind in ("SOCK_DGRAM", "SOCK_SEQPACKET"):
    attempt(kind, lambda: len(socket.socketpair(socket.AF_UNIX, getattr(socket, kind) | socket.SOCK_CLOEXEC)))
attempt("own limit", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
attempt("limit of another", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE))
libc = ctypes.CDLL(None, use_errno=True)
attempt("namespace", lambda: libc.unshare(0x10000000))
attempt("io_uring", lambda: libc.syscall(425, 8, ctypes.create_string_buffer(200)))
attempt("trace", lambda: libc.ptrace(16, os.getppid(), 0, 0))
attempt("signal", lambda: os.kill(os.getppid(), 0))
attempt("session", os.setsid)
attempt("group", lambda: os.setpgid(0, 0))
attempt("thread", lambda: threading.Thread(target=len, args=("",)).start())
"""


def test_network_and_other_processes(whole):
    """No socket of any kind, no namespace, no way round them; threads and pairs of sockets work."""
    found = tries(NETWORK)
    for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"):
        assert found[family] == "PermissionError"
    assert (found["pair"], found["thread"]) == ("2", "None")
    assert (found["SOCK_DGRAM"], found["SOCK_SEQPACKET"]) == ("PermissionError", "PermissionError")
    assert (found["own limit"], found["limit of another"]) == ("None", "PermissionError")
    assert (found["session"], found["group"]) == ("PermissionError", "PermissionError")
    assert (found["namespace"], found["io_uring"], found["trace"], found["signal"]) == (
        "-1",
        "-1",
        "-1",
        "PermissionError",
    )


def test_network_for_those_who_need_it(whole):
    """With --child-network sockets can be made, and the rest stays as it is."""
    found = tries(NETWORK, network=True)
    assert "family=2" in found["AF_INET"]
    assert (found["SOCK_DGRAM"], found["limit of another"]) == ("2", "PermissionError")
    assert (found["namespace"], found["io_uring"], found["trace"]) == ("-1", "-1", "-1")


def test_limits(tmp_path):
    """Memory, descriptors, dumps and the length of a file are bounded, also against somebody who would raise them."""
    found = tries(
        """
        import resource
        attempt("memory", lambda: len(bytearray(400 << 20)))
        attempt("little", lambda: len(bytearray(50 << 20)))
        attempt("raise", lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40)))
        attempt("core", lambda: resource.getrlimit(resource.RLIMIT_CORE))
        attempt("descriptors", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        attempt("privileges", lambda: [l for l in open("/proc/self/status") if "NoNewPrivs" in l][0].split()[1])
        """,
        memory_bytes_max=256 << 20,
    )
    assert (found["memory"], found["little"], found["core"]) == ("MemoryError", str(50 << 20), "(0, 0)")
    assert int(found["descriptors"]) <= DESCRIPTORS_MAX
    assert found["privileges"] == "1"
    assert found["raise"] in ("ValueError", "PermissionError")


def test_processor_time_is_bounded_and_renewed(monkeypatch):
    """Each renewal moves the limit on, to so many seconds beyond what is used; the hard one stays, to allow that."""
    asked, used = [], [0.5]
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: asked.append((what, limits)))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "getrusage", lambda _: resource.struct_rusage([used[0], 0.25, *[0] * 14]))
    limit = CpuLimit(10_000)
    for now, used[0] in ((0.0, 0.5), (0.9, 1.4), (1.1, 1.6), (100.0, 60.0)):
        limit.renew(now)
    soft = [limits[0] for _, limits in asked]
    assert soft == [12, 13, 72]
    assert {(what, limits[1]) for what, limits in asked} == {(resource.RLIMIT_CPU, resource.RLIM_INFINITY)}


@pytest.mark.skipif("ZGRID_SLOW" not in os.environ, reason="spins for three seconds of processor time; ZGRID_SLOW=1")
def test_a_child_that_spins_without_a_sign_ends():
    """Even where its agent cannot kill it: by the kernel, with SIGXCPU."""
    code = "from zgrid.roles.sandbox import CpuLimit\nCpuLimit(1000).renew(0.0)\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGXCPU


def test_a_kernel_without_is_told_and_not_fatal():
    """What the kernel refuses is named, each by itself, and the rest is done."""
    code = """
    import errno, json
    from zgrid.roles import landlock, sandbox, seccomp
    def lacks(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")
    landlock.system_call = seccomp.system_call = lacks
    print(json.dumps(sandbox.Sandbox().enter()))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        "files: Function not implemented",
        "system calls and network: Function not implemented",
    ]


def test_older_landlocks_are_asked_for_what_they_have(monkeypatch, tmp_path):
    """Each version of the interface is given the attributes that it knows, and no right that it does not."""
    asked = []
    for version in (1, 2, 3, 4, 5, 6, 7, 99):

        def call(number, *arguments, version=version):
            if number == 444:
                if arguments[0] is None:
                    return version
                asked.append((version, arguments[1], arguments[0].raw))
                return os.open("/dev/null", os.O_RDONLY)
            return 0

        monkeypatch.setattr(landlock, "system_call", call)
        lacks = landlock.restrict([str(tmp_path)], ["/nowhere"], network=False)
        assert len(lacks) == (version < 3) + (version < 6), "what it cannot do is told"
    assert [length for _, length, _ in asked] == [8, 8, 8, 16, 16, 24, 24, 24]
    assert [int.from_bytes(raw[:8], "little").bit_length() for _, _, raw in asked] == [13, 14, 15, 15, 16, 16, 16, 16]


def test_arguments_come_through():
    """What a sandbox is survives the command line of a child."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--allow", action="append", default=[])
    Sandbox.add_arguments(parser)
    assert Sandbox.of(parser.parse_args(["--allow=/pictures", "--read=/a"])).read == ("/a", "/pictures")
    for sandbox in (Sandbox(), Sandbox(1 << 30, 5000, True, ("/a b", "/c"), ("/d",))):
        assert Sandbox.of(parser.parse_args(sandbox.arguments())) == sandbox


def test_the_limit_of_time_costs_next_to_nothing(monkeypatch):
    """Between two renewals within a second nothing is asked of the kernel."""
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limits: asked.append(limits))
    limit = CpuLimit(86_400_000)
    for now in (0.0, 0.5, 0.99, 1.0, 1.5):
        limit.renew(now)
    CpuLimit(None).renew(0.0)
    assert len(asked) == 2


MAGICK = b"""push graphic-context
viewbox 0 0 64 64
image over 0,0 0,0 '/etc/passwd'
pop graphic-context
"""


@pytest.mark.parametrize("landlocked", [True, False])
def test_imagemagick_reads_nothing_but_pixels(landlocked):
    """In a child no format that draws, reads, fetches or removes is taken, whoever calls it and by whatever name.

    Also without Landlock: the policy is enough for what the system's own does not allow expressly.
    """
    pytest.importorskip("wand.image", exc_type=ImportError)
    body = f"""
    from wand.color import Color
    from wand.image import Image
    MVG = {MAGICK!r}
    MSL = b"<?xml version='1.0'?><image><read filename='/etc/passwd'/></image>"
    SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='/etc/passwd'/></svg>"
    def read(**how):
        with Image(**how) as image:
            return image.format, image.size
    for name, blob in (("MVG", MVG), ("MSL", MSL), ("SVG", SVG), ("TXT", b"text"), ("PS", b"%!PS"), ("PDF", b"%PDF")):
        attempt(name, lambda: read(blob=blob, format=name.lower()))
        attempt(name + " guessed", lambda: read(blob=blob))
    for name in ("text:", "label:@", "caption:@", "mvg:", "msl:", "ephemeral:", "pango:@", "@", "vid:", "mpr:", "svg:",
                 "url:file://", "https://localhost/", "http://localhost/", "inline:", "fd:0", "ps:", "pdf:", "gv:"):
        attempt(name, lambda: read(filename=name + "/etc/passwd"))
    attempt("pseudo", lambda: read(pseudo="label:@/etc/passwd", width=9, height=9))
    with Image(width=9, height=9, background=Color("red")) as image:
        tried["png"] = str(len(image.make_blob("png")) > 50)
        for name in ("mvg", "msl", "svg", "ps", "pdf", "html", "txt", "info"):
            attempt("to " + name, lambda: image.make_blob(name))
        tried["again"] = str(read(blob=image.make_blob("png")))
    with Image(width=40_000, height=1, background=Color("red")) as wide:
        tried["wide"] = str(wide.size)
    """
    code = textwrap.dedent(body)
    before = "import zgrid.filters.lines\n"
    words = "read=('/',)" if not landlocked else ""
    whole = before + PRELUDE.format(options=words) + code + "\nprint(json.dumps(tried))"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found.pop("png"), found.pop("again"), found.pop("wide")) == ("True", "('PNG', (9, 9))", "(40000, 1)")
    exposed = found.pop("exposed")
    assert not exposed or not landlocked
    taken = {name: what for name, what in found.items() if not what.endswith(("Error", "Warning"))}
    assert not taken
    assert (POLICY_FOLDER / "policy.xml").is_file()


def test_a_child_is_in_it(monkeypatch):
    """A real child of a pool says that it lacks nothing, and its filters may not read what it may not."""
    rig = Rig(monkeypatch, sandbox=Sandbox(memory_bytes_max=1 << 30, cpu_ms=60_000))
    with rig.pool:
        rig.until(lambda rig: rig.of(Ready))
        exposed = rig.of(Ready)[0].exposed
        if exposed:
            pytest.skip(f"this kernel cannot: {exposed}")
        rig.give(b"flaky /etc/zgrid-test", b"keep")
        rig.until(lambda rig: len(rig.results) == 2)
        assert rig.results[100].code == Code.FAILED
        assert "PermissionError" in rig.results[100].reasons
        assert "--child-write" in rig.results[100].reasons
        assert rig.results[101].code == Code.FINISHED


def test_a_child_loads_no_settings():
    """What only its agent needs, above all pydantic, would cost each start of a child a tenth of a second."""
    code = (
        "import sys, zgrid.roles.child; print([name for name in ('pydantic', 'typer', 'zmq') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
