"""The layout: every edge goes down, nothing lies on anything else, what can be straight is straight; and boxes nest."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tinygrad_med.explain.boxes import boxes
from tinygrad_med.explain.layout import arrange


def edges_of(*pairs: str) -> list[tuple[str, str, int]]:
    return [(*pair.split(">"), i) for i, pair in enumerate(pairs)]


@st.composite
def graphs(draw) -> tuple[list[str], list[tuple[str, str, int]]]:
    """Operations that use earlier ones and leaves."""
    count = draw(st.integers(1, 25))
    names, edges = ["t0", "t1"], []
    for i in range(count):
        used = draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=3, unique=True))
        edges += [(names[j], f"n{i}", j) for j in used]
        names.append(f"n{i}")
    return names, edges


@given(graphs())
def test_edges_go_down_and_nothing_overlaps(graph):
    names, edges = graph
    places, routes = arrange(names, edges)
    assert set(places) == set(names)
    taken = [*places.values(), *(tuple(bend) for *_, bends in routes for bend in bends)]
    assert len(set(taken)) == len(taken)
    for a, b, _, bends in routes:
        rows = [places[a].row, *(row for row, _ in bends), places[b].row]
        assert rows == list(range(rows[0], rows[-1] + 1)) and len(rows) > 1
    assert [tuple(route[:3]) for route in routes] == edges


def test_a_leaf_stands_right_above_its_first_user():
    places, _ = arrange(["t0", "t1", "n0", "n1", "n2"], edges_of("t0>n0", "n0>n1", "n1>n2", "t1>n2"))
    assert places["t1"].row == places["n2"].row - 1


def test_a_chain_with_parameters_is_straight():
    names = ["t0", *(f"n{i}" for i in range(30)), *(f"t{i}" for i in range(1, 31))]
    chain = edges_of("t0>n0", *(f"n{i}>n{i + 1}" for i in range(29)), *(f"t{i + 1}>n{i}" for i in range(30)))
    places, _ = arrange(names, chain)
    assert len({places[f"n{i}"].column for i in range(30)}) == 1


def test_a_shortcut_runs_beside_the_chain():
    names = ["i0", "n0", "n1", "n2", "n3", "o4"]
    places, routes = arrange(names[1:-1], edges_of("i0>n0", "n0>n1", "n1>n2", "n2>n3", "i0>n3", "n3>o4"))
    column = {places[name].column for name in names}
    assert len(column) == 1
    bends = routes[4][3]
    assert [row for row, _ in bends] == [1, 2, 3]
    assert len({c for _, c in bends}) == 1 and {c for _, c in bends}.isdisjoint(column)


def test_a_circle_is_drawn_all_the_same():
    places, _ = arrange(["n0", "n1"], edges_of("n0>n1", "n1>n0"))
    assert set(places) == {"n0", "n1"}


@pytest.mark.parametrize("shape", ["long", "wide"])
def test_ten_thousand_operations_take_seconds(shape):
    width = 1 if shape == "long" else 500
    names = [f"n{i}" for i in range(10_000)]
    pairs = [(i, i + width) for i in range(10_000 - width)] + [
        (i, i + 7 * width) for i in range(0, 9_900 - 7 * width, 5)
    ]
    begin = time.process_time()
    places, _ = arrange(names, [(names[a], names[b], a) for a, b in pairs])
    assert len(places) == 10_000
    assert time.process_time() - begin < 15  # about 1 s


# Boxes ---------------------------------------------------------------------------------------------------------------


def document(modules: list[int | None], parents: list[int | None]) -> dict[str, Any]:
    """A chain of operations, each in a module, whose operands are the result before it and a parameter."""
    tensors = [{"id": 0, "name": "x", "kind": "leaf", "node": None, "detached_from": None, "dependents": [0]}]
    nodes = []
    for i, module in enumerate(modules):
        before = tensors[-1]["id"]
        weight = {"id": len(tensors), "name": f"a.{i}", "kind": "parameter", "node": None}
        result = {"id": len(tensors) + 1, "name": None, "kind": "result", "node": i, "dependents": [i + 1]}
        tensors += [weight | {"detached_from": None, "dependents": [i]}, result | {"detached_from": None}]
        operands = [{"name": "x", "tensor": before}, {"name": "y", "tensor": weight["id"]}]
        nodes.append({"id": i, "operands": operands, "output": result["id"], "module": module, "walk": None})
    tensors[-1]["dependents"] = []
    return {"nodes": nodes, "tensors": tensors, "modules": [{"id": i, "parent": p} for i, p in enumerate(parents)]}


def test_a_module_that_is_called_twice_has_two_boxes():
    found = boxes(document([1, None, 1], [None, 0]))
    assert [box["module"] for box in found] == [None, 0, 1, 0, 1]
    assert [box["parent"] for box in found] == [None, 0, 1, 0, 3]


def test_what_crosses_the_border_of_a_box_goes_through_ports():
    outer, inner = boxes(document([None, 0, None], [None]))
    assert set(outer["places"]) == {"n0", "n2", "b1", "t0", "t1", "t5"}
    assert set(inner["places"]) == {"n1", "t3", "i2", "o4"}
    assert ["i2", "n1", 2] in [edge[:3] for edge in inner["edges"]]
    assert ["n1", "o4", 4] in [edge[:3] for edge in inner["edges"]]
    assert ["n0", "b1", 2] in [edge[:3] for edge in outer["edges"]]
    assert ["b1", "n2", 4] in [edge[:3] for edge in outer["edges"]]


def test_a_detached_copy_hangs_on_what_it_was_taken_from():
    one = document([None, None], [])
    one["tensors"][3]["detached_from"] = 2
    (box,) = boxes(one)
    assert ["n0", "t3", 2] in [edge[:3] for edge in box["edges"]]


def test_the_operations_of_a_walk_have_a_box():
    one = document([None, None], [])
    one["nodes"][1]["walk"] = 0
    assert [box["walk"] for box in boxes(one)] == [None, 0]
