"""What stands in what: the modules of a trace as boxes, and the ways of its tensors in and out of them.

Modules are boxes that open and fold, so each is laid out by itself, as a small graph of what stands directly in it. A
tensor that comes from outside enters through a port in the first row, one that leaves goes through a port in the last.
The page turns rows and columns into pixels, as a table does, by the widest thing that is open in each column: so
folding needs no new layout.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med.explain.layout import Edge, arrange


def boxes(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The boxes of a trace, the outermost first.

    Returns:
        For each box: `module` (its id, or None), `walk` (whose operations these are, or None), `parent` (the position
        of the box around it, or None), `places` (name: (row, column)) and `edges` ([from, to, tensor, the places that
        it passes]). Names are "n3" for operation 3, "t3" for the leaf tensor 3, "b3" for box 3, and "i3" and "o3" for
        the port by which tensor 3 comes in or goes out.
    """
    nest = _Nest(document)
    for node in document["nodes"]:
        for tensor in dict.fromkeys(operand["tensor"] for operand in node["operands"]):
            if tensor is not None:
                nest.connect(tensor, f"n{node['id']}")
    for tensor in document["tensors"]:
        if f"t{tensor['id']}" in nest.home and tensor["detached_from"] is not None:
            nest.connect(tensor["detached_from"], f"t{tensor['id']}")
    inside: list[list[str]] = [[] for _ in nest.boxes]
    for name, box in nest.home.items():
        inside[box].append(name)
    for facts, names, edges in zip(nest.boxes, inside, nest.edges, strict=True):
        facts["places"], facts["edges"] = arrange(names, list(edges))
    return nest.boxes


class _Nest:
    """The boxes of a trace, in which box each thing stands (`home`), and the edges in each box.

    A module that is called twice has two boxes. As calls are nested in time, no box can then depend on itself.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.tensors, self.modules = document["tensors"], document["modules"]
        self.boxes: list[dict[str, Any]] = [{"module": None, "walk": None, "parent": None}]
        self.home: dict[str, int] = {}
        running: list[tuple[tuple[str, int], int]] = []  # what the latest operation ran in, and its box
        for node in document["nodes"]:
            wanted = self._runs_in(node)
            same = 0
            while same < min(len(wanted), len(running)) and running[same][0] == wanted[same]:
                same += 1
            del running[same:]
            for kind, id in wanted[same:]:
                parent = running[-1][1] if running else 0
                self.home[f"b{len(self.boxes)}"] = parent
                running.append(((kind, id), len(self.boxes)))
                self.boxes.append({"module": None, "walk": None, "parent": parent, kind: id})
            self.home[f"n{node['id']}"] = running[-1][1] if running else 0
        self.edges: list[dict[Edge, None]] = [{} for _ in self.boxes]
        for tensor in self.tensors:
            users = {self.home[f"n{node}"] for node in tensor["dependents"]}
            if tensor["node"] is None and users:
                of_a_module = tensor["kind"] == "parameter" or "." in (tensor["name"] or ".")
                self.home[f"t{tensor['id']}"] = self._common(users) if of_a_module else 0

    def _runs_in(self, node: dict[str, Any]) -> list[tuple[str, int]]:
        """The walk and the modules in which an operation ran, the outermost first."""
        found: list[tuple[str, int]] = []
        module = node["module"]
        while module is not None:
            found.insert(0, ("module", module))
            module = self.modules[module]["parent"]
        return found if node["walk"] is None else [("walk", node["walk"]), *found]

    def _around(self, box: int | None) -> list[int]:
        """A box and those around it, the outermost first."""
        found: list[int] = []
        while box is not None:
            found.insert(0, box)
            box = self.boxes[box]["parent"]
        return found

    def _common(self, inner: set[int]) -> int:
        """The innermost box that holds all of `inner`."""
        levels = zip(*(self._around(box) for box in inner), strict=False)
        return [level[0] for level in levels if len(set(level)) == 1][-1]

    def connect(self, tensor: int, user: str) -> None:
        """Draw the way of a tensor to its user: out of the boxes where it is made, into those where it is used."""
        maker = self.tensors[tensor]["node"]
        start = f"t{tensor}" if maker is None else f"n{maker}"
        if start not in self.home:  # a tensor that nothing used, but by way of its detached copy
            return
        above, below = self._around(self.home[start]), self._around(self.home[user])
        shared = sum(a == b for a, b in zip(above, below, strict=False))
        for box in reversed(above[shared:]):
            self.edges[box][start, f"o{tensor}", tensor] = None
            start = f"b{box}"
        for box in reversed(below[shared:]):
            self.edges[box][f"i{tensor}", user, tensor] = None
            user = f"b{box}"
        self.edges[below[shared - 1]][start, user, tensor] = None
