"""How rightly faces are found on labelled photographs, ours beside the tutorials' way: what speed may not cost."""

import importlib.machinery
import importlib.util
from collections.abc import Iterator
from types import ModuleType

import cv2
from bench_figures import Figure, Goal
from bench_grid import HERE
from bench_measures import Bench

IOU = 0.5
SIZES = (0, 24, 48, 96)
"""Faces are told apart by these sizes and larger ones, in thousandths of the longest side."""


def script() -> ModuleType:
    """Return scripts/accuracy as a module; it has no .py at its end."""
    loader = importlib.machinery.SourceFileLoader("accuracy", str(HERE / "accuracy"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("accuracy", loader))
    loader.exec_module(module)
    return module


def accuracy(bench: Bench) -> Iterator[Figure]:
    """How rightly faces are found (--faces), beside the tutorials' way: see scripts/accuracy."""
    if bench.options.faces is None:
        yield Figure("accuracy", "accuracy", "faces found", "share", error="give a folder with --faces")
        return
    cv2.setNumThreads(1)
    folder, accuracy = bench.options.faces, script()
    ours = accuracy.measure(folder, [IOU])[IOU]["all"]
    bench.tell(f"F1 {ours.f1:.3f}, has-face {ours.has_face:.3f}")
    theirs = accuracy.measure(folder, [IOU], finder=accuracy.by_tutorial())[IOU]["all"]
    bench.tell(f"tutorial: F1 {theirs.f1:.3f}, has-face {theirs.has_face:.3f}")

    def figure(name: str, what: str, own: float, other: float, bound: float | None = None) -> Figure:
        goal = None if bound is None else Goal(bound, of_ratio=False)
        return Figure("accuracy", name, what, "share", (own,), "tutorial", (other,), goal)

    of = f"{ours.faces} faces on {ours.images} photographs"
    yield figure("f1", f"F1 (IoU {IOU}), {of}", ours.f1, theirs.f1, 0.89)
    yield figure("has-face", "photographs judged rightly: is there a face?", ours.has_face, theirs.has_face, 0.97)
    for low, high in zip(SIZES, (*SIZES[1:], 1001), strict=True):
        counts = [(in_sizes(one.found, low, high), in_sizes(one.missed, low, high)) for one in (ours, theirs)]
        if sum(counts[0]):
            upper = f"to {high / 10:g} %" if high < 1000 else "and more"
            what = f"faces found, of {low / 10:g} % {upper} of the longest side ({sum(counts[0])})"
            yield figure(f"recall-{low}", what, *(found / (found + missed) for found, missed in counts))


def in_sizes(faces: list[tuple[float, float]], low: float, high: float) -> int:
    """Return how many faces have a size, in thousandths of the longest side, between two."""
    return sum(low <= share < high for _, share in faces)
