"""An ONNX model file whose picture may have any size.

A model made for pictures of one size often works for any, but its file says the one size everywhere, and ONNX Runtime
insists on it. The file is a protocol buffer: fields of a number, a kind and a value. Three kinds of them are rewritten:
the size is struck out of the input's shape and of the outputs', and the shapes noted in between are left out.
"""

from collections.abc import Callable, Iterator

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE = 11, 12, 13
_VALUE_TYPE = 2
_TYPE_TENSOR = 1
_TENSOR_SHAPE = 2
_SHAPE_DIMENSION = 1

_INPUT_DIMENSIONS_KEPT = 2
"""Pictures in the batch, and channels; height and width follow."""
_OUTPUT_DIMENSIONS_KEPT = 1

Rewrite = Callable[[bytes], bytes | None]


def of_any_size(model: bytes) -> bytes:
    """Return the model with its input's height and width, and its outputs' lengths, left open.

    Raises ValueError when the bytes are no protocol buffer.
    """
    return _rewritten(model, {_MODEL_GRAPH: _graph})


def _graph(graph: bytes) -> bytes:
    return _rewritten(
        graph,
        {
            _GRAPH_INPUT: lambda value: _opened(value, _INPUT_DIMENSIONS_KEPT),
            _GRAPH_OUTPUT: lambda value: _opened(value, _OUTPUT_DIMENSIONS_KEPT),
            _GRAPH_VALUE: lambda _: None,
        },
    )


def _opened(value: bytes, kept: int) -> bytes:
    """Return an input or output whose dimensions are open but for the first ``kept``."""

    def shape(dimensions: bytes) -> bytes:
        seen = 0

        def dimension(content: bytes) -> bytes:
            nonlocal seen
            seen += 1
            return content if seen <= kept else b""

        return _rewritten(dimensions, {_SHAPE_DIMENSION: dimension})

    def tensor(content: bytes) -> bytes:
        return _rewritten(content, {_TENSOR_SHAPE: shape})

    return _rewritten(value, {_VALUE_TYPE: lambda kind: _rewritten(kind, {_TYPE_TENSOR: tensor})})


def _rewritten(message: bytes, rewrites: dict[int, Rewrite]) -> bytes:
    """Return a message with the content of some of its fields rewritten; a field rewritten to None is left out."""
    out = []
    for number, kind, start, content, end in _fields(message):
        if kind != _BYTES or number not in rewrites:
            out.append(message[start:end])
            continue
        new = rewrites[number](message[content:end])
        if new is not None:
            out += [_varint(number << 3 | _BYTES), _varint(len(new)), new]
    return b"".join(out)


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield number, kind, start, start of the content, and end of each field."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            length, at = _read_varint(message, at)
            content, at = at, at + length
        elif kind == _VARINT:
            content, (_, at) = at, _read_varint(message, at)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            content, at = at, at + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"a field of kind {kind} at byte {start}")
        if at > len(message):
            raise ValueError(f"a field that ends behind its message at byte {start}")
        yield number, kind, start, content, at


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError(f"a number that has no end at byte {at}")
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
        if message[at - 1] < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
