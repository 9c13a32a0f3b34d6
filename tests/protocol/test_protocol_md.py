"""PROTOCOL.md and messages.py say the same: kinds, numbers, fields, types, defaults, limits and codes.

Each type on the page is turned into values just inside it and just beyond it, and the field's own check must agree. So
neither a limit in the code nor one on the page can change alone.
"""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import zgrid.protocol
from zgrid.protocol import limits, messages
from zgrid.protocol.limits import BATCH_JOBS_MAX, INT_MAX, NOTES_DEPTH_MAX
from zgrid.protocol.messages import CHECKS, KINDS, Code, Message

PAGE = (Path(zgrid.protocol.__file__).parent / "PROTOCOL.md").read_text("utf-8")
DEFAULTS: dict[str, Any] = {"{}": {}, "[]": [], "0": 0, "false": False, '""': ""}
ONE = r"(?P<one>(?:int|number|text|bytes|bool|plain map)(?: [^ ,]+)?)"
TYPE = re.compile(rf"(?P<shape>column of |list of |map of )?{ONE}(?P<nil> or nil)?(?:, (?P<most>\d+) entries)?")

Row = tuple[str, str, str]
Pair = tuple[list[Any], list[Any]]


def blocks() -> dict[tuple[int, str], list[Row]]:
    """Return for each kind on the page (number, name) the rows of its first table that has fields."""
    found = {}
    section = PAGE.partition("\n## 7. Messages\n")[2].partition("\n## 8.")[0]
    for number, name, body in re.findall(r"^### (\d+) (\w+)\n(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL):
        rows = body.partition("| Field | Type | Default | Meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
        found[int(number), name] = [(field, type_, default) for field, type_, default, meaning in cells if meaning]
    return found


BLOCKS = blocks()
ROWS = [(KINDS[number], row) for (number, _), rows in BLOCKS.items() for row in rows if number in KINDS]
EVERY_ROW = pytest.mark.parametrize(
    ("kind", "row"), ROWS, ids=[f"{kind.__name__}.{row[0]}" for kind, row in ROWS]
)  # fmt: skip


def inside_and_beyond(one: str) -> Pair:
    """Return values that the page allows for a single type, and values that it does not."""
    word, _, rest = one.partition(" ")
    if one == "plain map":
        return [{}, {"a": deep(NOTES_DEPTH_MAX - 1)}], [{"a": deep(NOTES_DEPTH_MAX)}, {1: 1}, {"a": object()}, []]
    if word == "bool":
        return [True, False], [0, 1, None]
    if word == "text":
        return ["", "x" * int(rest)], ["x" * (int(rest) + 1), b"x"]
    low, dots, high = rest.partition("..")
    if word == "bytes":
        least, most = (int(low), int(high)) if dots else (0, int(rest))
        return [bytes(least), bytes(most)], [bytes(most + 1), "x", *([bytes(least - 1)] if least else [])]
    most = int(high) if high else (INT_MAX if word == "int" else 10**15)
    assert word in ("int", "number"), f"{one} is no type of section 7"
    beyond: list[Any] = [int(low) - 1, most * 2, True, "1", None]
    if word == "int":
        return [int(low), most], [*beyond, most + 1, float(most)]
    return [int(low), float(low), most], [*beyond, float("nan"), float("inf")]


def deep(levels: int) -> Any:
    """Return lists nested so deep."""
    return [deep(levels - 1)] if levels else None


def in_shape(match: re.Match[str], values: Pair) -> Pair:
    """Return the values as entries of a column, list or map of the page's length, and such as are too long."""
    inside, beyond = values
    if match["nil"]:
        inside, beyond = [*inside, None], [value for value in beyond if value is not None]
    most = int(match["most"] or BATCH_JOBS_MAX)
    if match["shape"] == "map of ":
        many = {str(number): inside[0] for number in range(most)}
        good = [{}, *({"k" * 256: value} for value in inside), many]
        return good, [
            *({"k": value} for value in beyond),
            {**many, "more": inside[0]},
            {"k" * 257: inside[0]},
            {1: inside[0]},
        ]
    good = [[], *([value] for value in inside), [inside[-1]] * most]
    return good, [*([inside[0], value] for value in beyond), [inside[-1]] * (most + 1), tuple(inside), inside[0]]


def test_kinds_and_their_numbers() -> None:
    """Every kind has its block, in order, under its number; the page names no other."""
    assert list(BLOCKS) == [(number, kind.__name__.upper()) for number, kind in KINDS.items()]


@pytest.mark.parametrize("number", KINDS)
def test_fields_and_their_order(number: int) -> None:
    """A block's table has exactly the fields of the class, in the order in which they are encoded."""
    kind = KINDS[number]
    assert [name for name, _, _ in BLOCKS[number, kind.__name__.upper()]] == [name for name, _, _ in CHECKS[kind]]


@EVERY_ROW
def test_defaults(kind: type[Message], row: Row) -> None:
    """The default of a field, or that it has none, is on the page."""
    name, type_, default = row
    entry = next(entry for entry in fields(kind) if entry.name == name)
    value = entry.default if entry.default_factory is MISSING else entry.default_factory()
    expected = MISSING if default == "none" else DEFAULTS[default]
    if type_.startswith("bytes") and default == '""':
        expected = b""
    assert value == expected


@EVERY_ROW
def test_types_and_limits(kind: type[Message], row: Row) -> None:
    """The field's check accepts what its type on the page allows, up to the limit, and nothing beyond it."""
    name, type_, _ = row
    match = TYPE.fullmatch(type_)
    assert match, f"{type_} is no type of section 7"
    check = next(check for other, check, _ in CHECKS[kind] if other == name)
    inside, beyond = inside_and_beyond(match["one"])
    if match["shape"]:
        inside, beyond = in_shape(match, (inside, beyond))
    for value in inside:
        assert check(value), f"{kind.__name__}.{name} refuses {value!r:.80}, which the page allows"
    for value in beyond:
        assert not check(value), f"{kind.__name__}.{name} accepts {value!r:.80}, which the page does not allow"


def test_limits() -> None:
    """Section 5 lists each limit with its value, and no other; those on pixels stand in the types of section 7."""
    section = PAGE.partition("\n## 5. Limits\n")[2].partition("\n## 6.")[0]
    listed = {name: int(value) for name, value in re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", section, re.MULTILINE)}
    ours = {name: value for name, value in vars(limits).items() if name.endswith("_MAX")}
    assert listed == {name: value for name, value in ours.items() if name != "PIXELS_MAX"}
    assert f"An array has at most {BATCH_JOBS_MAX * 4:,} items and a map at most {BATCH_JOBS_MAX:,} entries" in PAGE


def test_codes() -> None:
    """The table of outcome codes has every code under its number, and no other."""
    listed = re.findall(r"^\| (\d) \| ([A-Z]+) \|", PAGE, re.MULTILINE)
    assert listed == [(str(code.value), code.name) for code in Code]


def test_version_and_images() -> None:
    """The page's title has the version, and the grammar names the kinds that carry images."""
    assert PAGE.startswith(f"# ZGRID/{messages.VERSION}:")
    *others, last = [kind.__name__.upper() for kind in KINDS.values() if kind.CARRIES_IMAGES]
    assert f"one frame each, in {', '.join(others)} and {last} only" in PAGE
