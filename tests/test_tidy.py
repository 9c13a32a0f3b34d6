"""The architecture as a test: what a file may import, touch and be called. Each failure says where, which rule and why.

The rules read the code's syntax tree and run nothing. Change a rule here, with its reason, or change the code.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zgrid"

RANKS = {
    "errors": 0, "settings": 0, "log": 0, "models": 0, "kernel": 0,
    "protocol": 1,
    "transport": 2, "store": 2, "filters": 2, "sources": 2, "metrics": 2,
    "web": 3, "roles": 3, "client": 3,
    "cli": 4,
}  # fmt: skip
"""Layer -> height. Imports go down; layers of equal height are siblings and import nothing of each other."""

BOTTOM = frozenset(name for name, rank in RANKS.items() if rank == 0)
"""These may use each other: a setting that is wrong raises an error."""

LAYER_LIMITS = {
    "web": frozenset({"store"}) | BOTTOM,
    "client": frozenset({"transport", "protocol", "sources"}) | BOTTOM,
}
"""Layers that may import less than their height allows: the gallery works while the grid is down, and who only asks a
ventilator opens no ledger and loads no filter."""

PURE_STDLIB = frozenset({
    "bisect", "collections", "dataclasses", "enum", "functools", "hashlib", "itertools", "math", "operator", "typing",
})  # fmt: skip
"""What protocol/ may import of Python: no file, socket, clock, thread, process, log or random number is behind it."""

HOMES = {
    "msgpack": ("zgrid/protocol/wire.py", "zgrid/roles/"),
    "zmq": ("zgrid/transport/",),
    "sqlite3": ("zgrid/store/",),
    "sqlalchemy": ("zgrid/store/",),
    "cv2": ("zgrid/filters/",),
    "wand": ("zgrid/filters/",),
    "PIL": ("zgrid/filters/",),
    "prometheus_client": ("zgrid/metrics/",),
}
"""Library -> where it may be imported, so that each can be replaced, and its faults looked for, in one place.

Roles pack what goes through the pipes between an agent and its children, which are not on the wire.
"""

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 450
VAGUE = frozenset({"utils", "util", "common", "helpers", "helper", "base", "misc", "core", "shared", "tools"})


class Breach(NamedTuple):
    """A place where a rule is broken."""

    path: Path
    line: int
    what: str

    def told(self, rule: str, reason: str) -> str:
        """Return the line that a person reads."""
        where = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path.name
        return f"{where}:{self.line}  {self.what}  [{rule}: {reason}]"


def sources(*folders: Path) -> list[Path]:
    """Return every Python file below the folders, scripts without an extension among them."""
    found: list[Path] = []
    for folder in folders:
        found += sorted(folder.rglob("*"))
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts and is_python(path)]


def is_python(path: Path) -> bool:
    """Whether a file is Python, by its name or its first line."""
    if path.suffix == ".py":
        return True
    if path.suffix or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        return re.match(rb"#!.*python", file.readline()) is not None


PACKAGED = sources(PACKAGE)
TESTS = sources(ROOT / "tests")
SCRIPTS = sources(ROOT / "scripts")
ALL = [*PACKAGED, *TESTS, *SCRIPTS]


@cache
def tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text("utf-8"), str(path))


def name_in_project(path: Path) -> str:
    """Return a path as rules name it: from the top of the project, with slashes."""
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a file imports; ``from zgrid import x`` is ``zgrid.x``."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
                module = ".".join([*package, *([module] if module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def layer_of(path: Path) -> str | None:
    """Return the layer that a file of the package belongs to; None for what stands above all of them."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if name in {"__init__", "__main__"} else name


def layers_imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and layer of each import of our own."""
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "zgrid" and len(parts) > 1 and not parts[1].startswith("__"):
            yield line, parts[1]


def upward_imports(path: Path) -> Iterator[Breach]:
    """Find imports that go up, or sideways."""
    mine = layer_of(path)
    if mine is None:
        return
    if mine not in RANKS:
        yield Breach(path, 1, f"is in {mine}, which is no layer")
        return
    for line, other in layers_imported(path):
        if other == mine or (mine in BOTTOM and other in BOTTOM):
            continue
        if RANKS.get(other, 99) >= RANKS[mine] or other not in LAYER_LIMITS.get(mine, RANKS):
            yield Breach(path, line, f"{mine} imports {other}")


def impure_imports(path: Path) -> Iterator[Breach]:
    """Find imports of the protocol that could touch the world."""
    if layer_of(path) != "protocol":
        return
    for line, name in imports(path):
        top = name.split(".")[0]
        if top not in PURE_STDLIB | {"zgrid", "msgpack"}:
            yield Breach(path, line, f"imports {top}")


def strays(path: Path) -> Iterator[Breach]:
    """Find imports of libraries outside their homes."""
    name = name_in_project(path)
    for line, imported in imports(path):
        homes = HOMES.get(imported.split(".")[0])
        if homes is not None and not name.startswith(homes):
            yield Breach(path, line, f"imports {imported.split('.')[0]}, whose home is {' and '.join(homes)}")


def long_functions(path: Path) -> Iterator[Breach]:
    """Find functions that do not fit on a screen."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield Breach(path, node.lineno, f"{node.name} has {lines} lines; {FUNCTION_LINES_MAX} are the most")


def long_files(path: Path) -> Iterator[Breach]:
    """Find files that hold more than one subject."""
    lines = path.read_text("utf-8").count("\n")
    if lines > FILE_LINES_MAX:
        yield Breach(path, lines, f"has {lines} lines; {FILE_LINES_MAX} are the most")


def bare_excepts(path: Path) -> Iterator[Breach]:
    """Find handlers that do not say what they catch."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield Breach(path, node.lineno, "catches everything")


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and last name of every call."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                yield node.lineno, called.id
            elif isinstance(called, ast.Attribute):
                yield node.lineno, called.attr


def sleeps(path: Path) -> Iterator[Breach]:
    """Find tests that hope that a time is long enough."""
    for line, name in calls(path):
        if name == "sleep":
            yield Breach(path, line, "calls sleep")


def prints(path: Path) -> Iterator[Breach]:
    """Find output that goes past the log."""
    if layer_of(path) == "cli":
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield Breach(path, node.lineno, "calls print")


def reminders(path: Path) -> Iterator[Breach]:
    """Find what was left for later."""
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    for line, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if found := word.search(text):
            yield Breach(path, line, f"says {found[0]}")


def vague_names(path: Path) -> Iterator[Breach]:
    """Find modules whose name could hold anything."""
    if path.stem in VAGUE or path.parent.name in VAGUE:
        yield Breach(path, 1, f"is called {path.stem if path.stem in VAGUE else path.parent.name}")


def undocumented(path: Path) -> Iterator[Breach]:
    """Find modules, public classes, and public functions and methods of public classes without a docstring."""
    nodes: list[tuple[ast.AST, str]] = [(tree(path), "the module")]
    todo: list[ast.Module | ast.ClassDef] = [tree(path)]
    while todo:
        for node in todo.pop().body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith(
                "_"
            ):
                overloaded = any(
                    isinstance(one, ast.Name) and one.id in {"overload", "override"} for one in node.decorator_list
                )
                setter = any(isinstance(one, ast.Attribute) and one.attr == "setter" for one in node.decorator_list)
                if not overloaded and not setter:
                    nodes.append((node, node.name))
                if isinstance(node, ast.ClassDef):
                    todo.append(node)
    for node, name in nodes:
        assert isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if ast.get_docstring(node) is None and not (isinstance(node, ast.Module) and not node.body):
            yield Breach(path, getattr(node, "lineno", 1), f"{name} has no docstring")


def untold_tests(path: Path) -> Iterator[Breach]:
    """Find tests that do not say what they prove."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and ast.get_docstring(node) is None:
            yield Breach(path, node.lineno, f"{node.name} has no docstring")


def mocks(path: Path) -> Iterator[Breach]:
    """Find tests that replace our code by something that agrees with them."""
    for line, name in imports(path):
        if name.startswith(("unittest.mock", "mock")) or name == "unittest.mock":
            yield Breach(path, line, f"imports {name}")


def defined(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module or class defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def dead_names(path: Path) -> Iterator[Breach]:
    """Find private names that a module or class defines and that this file never uses."""
    scopes: list[ast.Module | ast.ClassDef] = [tree(path)]
    scopes += [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    used = {
        node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
    }
    used |= {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    for scope in scopes:
        for node in scope.body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                continue  # whoever decorates it knows of it
            for name in defined(node):
                private = name.startswith("_") and not name.startswith("__") and name != "_"
                if private and name not in used and not has_other_users(path, name):
                    yield Breach(path, node.lineno, f"{name} is never used")


@cache
def words_of(path: Path) -> frozenset[str]:
    """Return every identifier-like word of a file."""
    return frozenset(re.findall(r"\w+", path.read_text("utf-8")))


def has_other_users(path: Path, name: str) -> bool:
    """Whether another file of the package says the name: a private method may be a subclass's or a library's hook."""
    return any(name in words_of(other) for other in PACKAGED if other != path)


RULES = [
    ("imports point down", upward_imports, PACKAGED, "folders follow what a file may touch; siblings meet in roles"),
    ("protocol is pure", impure_imports, PACKAGED, "no files, sockets, clocks, chance: take them as arguments"),
    ("libraries at home", strays, PACKAGED, "each library is known to one folder, where it can be replaced"),
    ("short functions", long_functions, ALL, "a function fits on a screen: give a part of it a name"),
    ("short files", long_files, ALL, "a file has one subject: find the second one and move it out"),
    ("no bare except", bare_excepts, ALL, "a fault that nobody named must stop the process, not hide in it"),
    ("tests do not sleep", sleeps, TESTS, "wait for a condition with a deadline: a sleep is too long or too short"),
    ("no print", prints, PACKAGED, "people read cli/, programs read the log"),
    ("nothing for later", reminders, ALL, "do it, or leave it out"),
    ("names say what", vague_names, ALL, "a name that could hold anything soon does: a helper lives with its user"),
    ("public means documented", undocumented, PACKAGED, "shapes, units and errors are part of the interface"),
    ("tests say what they prove", untold_tests, TESTS, "one sentence, so that a failure explains itself"),
    ("no mocks", mocks, TESTS, "use the fake that we ship, which is held to the same tests"),
    ("nothing dead", dead_names, PACKAGED, "what nobody uses, nobody keeps right: delete it"),
]  # fmt: skip
"""Rule, what finds its breaches in a file, the files it holds for, and its reason."""


@pytest.mark.parametrize(("rule", "find", "paths", "reason"), RULES, ids=[rule[0].replace(" ", "_") for rule in RULES])
def test_rule(rule, find, paths, reason) -> None:
    """No file breaks the rule."""
    told = [breach.told(rule, reason) for path in paths for breach in find(path)]
    assert not told, "\n" + "\n".join(told)


def test_every_file_has_a_layer() -> None:
    """Every folder and module of the package stands in the table of layers, so that none escapes the import law."""
    unknown = {layer for path in PACKAGED if (layer := layer_of(path)) is not None and layer not in RANKS}
    assert not unknown, f"{sorted(unknown)}: give it a height in RANKS"


BAD = {
    upward_imports: ("protocol/bad.py", "from zgrid.store import ledger"),
    impure_imports: ("protocol/bad.py", "def f():\n    import time"),
    strays: ("roles/bad.py", "import sqlite3"),
    long_functions: ("roles/bad.py", "def f():\n" + "    x = 1\n" * 60),
    long_files: ("roles/bad.py", "x = 1\n" * 451),
    bare_excepts: ("roles/bad.py", "try:\n    x = 1\nexcept:\n    pass"),
    sleeps: ("roles/bad.py", "import time\ntime.sleep(1)"),
    prints: ("roles/bad.py", "print(1)"),
    reminders: ("roles/bad.py", "x = 1  # TO" + "DO: more"),
    vague_names: ("roles/utils.py", "x = 1"),
    undocumented: ("roles/bad.py", '"""M."""\nclass A:\n    """A."""\n    def f(self): ...'),
    untold_tests: ("roles/bad.py", "def test_x(): ..."),
    mocks: ("roles/bad.py", "from unittest.mock import patch"),
    dead_names: ("roles/bad.py", "def _unused_in_all_of_zgrid(): ..."),
}
"""What finds breaches -> a file (under the package) that has exactly one."""


@pytest.mark.parametrize("find", BAD, ids=lambda find: find.__name__)
def test_each_rule_can_fail(find, tmp_path, monkeypatch) -> None:
    """A file that breaks one rule is found by it, once, with its line."""
    name, text = BAD[find]
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "zgrid")
    path = tmp_path / "zgrid" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    breaches = list(find(path))
    assert len(breaches) == 1
    assert breaches[0].told("rule", "reason").startswith(f"zgrid/{name}:{breaches[0].line}  ")


@pytest.mark.parametrize("line", [
    "from zgrid.cli import main", "import zgrid.roles.worker", "from zgrid import store", "from ..store import ledger",
    "from zgrid.transport.clock import now",
])  # fmt: skip
def test_every_way_to_import_upward_is_seen(line, tmp_path, monkeypatch) -> None:
    """However an import is written, its layer is found."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "zgrid")
    path = tmp_path / "zgrid" / "filters" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(list(upward_imports(path))) == 1


def test_all_rules_are_proven() -> None:
    """Every rule has a file that breaks it."""
    assert {rule[1] for rule in RULES} == set(BAD)


def test_pure_modules_are_modules() -> None:
    """The pure part of Python's library is spelt right, and holds nothing that touches the world."""
    for name in PURE_STDLIB:
        assert __import__(name)
    assert not PURE_STDLIB & {"os", "io", "time", "threading", "random", "pathlib", "logging", "socket", "subprocess"}
    assert hasattr(builtins, "print")
