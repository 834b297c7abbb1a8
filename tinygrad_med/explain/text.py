"""A trace as text: tables for the terminal, and the graph for Graphviz."""

from __future__ import annotations

from tinygrad_med.explain.trace import Trace, Values


def short(values: Values, most: int = 4) -> str:
    """Numbers in a few words: all of them if they are few, else the shape and the range."""
    if values.numbers is not None and len(values.numbers) <= most:
        inner = ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.numbers)
        return inner if not values.shape else f"[{inner}]"
    s = values.summary
    shape = "×".join(map(str, values.shape)) or "scalar"
    if s.min is None:
        return f"{shape}, nothing finite"
    return f"{shape}, {s.min:.3g} … {s.max:.3g}" + (f", {s.zeros:.0%} zero" if s.zeros else "")


def called(trace: Trace, tensor: int) -> str:
    """The name of a tensor, or its number."""
    return trace.tensors[tensor].name or f"t{tensor}"


def tables(trace: Trace) -> str:
    """The operations, and the steps of each walk."""
    rows = [["", "operation", "made", "from", "value", "module", "line"]]
    for node in trace.nodes:
        parts = [str(o.value) if o.tensor is None else called(trace, o.tensor) for o in node.operands]
        module = "" if node.module is None else trace.modules[node.module].path or trace.modules[node.module].name
        line = "" if node.line is None else f"{node.line.file}:{node.line.number}"
        made = called(trace, node.output) + ("" if node.recorded else " (no gradient)")
        value = short(trace.tensors[node.output].values)
        rows.append([str(node.id), node.primitive, made, ", ".join(parts), value, module, line])
    out = ["Forward", *_aligned(rows)]
    for walk in trace.walks:
        line = "" if walk.line is None else f" at {walk.line.file}:{walk.line.number}"
        out += ["", f"Walk {walk.id}: {walk.kind}(){line}" + (f", ended by {walk.error}" if walk.error else "")]
        rows = [["", "operation", "upstream gradient", "rule", "contributes"]]
        for step in walk.steps:
            upstream = f"∂{called(trace, step.tensor)} = {short(step.upstream)}"
            if len(step.parts) > 1:
                upstream += f" (sum of {len(step.parts)})"
            if step.node is None:
                rows.append([str(step.id), "(leaf)", upstream, "", ""])
                continue
            node = trace.nodes[step.node]
            first = True
            for c in step.contributions:
                if c is None:
                    continue
                operand = node.operands[c.operand]
                dims = f" (summed over dims {', '.join(map(str, c.summed))})" if c.summed else ""
                given = f"{short(c.values)} to {called(trace, c.tensor)}{dims}"
                start = [str(step.id), node.primitive, upstream] if first else ["", "", ""]
                rows.append([*start, f"∂{operand.name}: {operand.rule}", given])
                first = False
            if first:
                rows.append([str(step.id), node.primitive, upstream, "", ""])
        out += _aligned(rows)
    return "\n".join(out)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [min(max(len(row[i]) for row in rows), 60) for i in range(len(rows[0]))]
    cells = [[_cut(c, w).ljust(w) for c, w in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def dot(trace: Trace) -> str:
    """The graph: operations as boxes within their modules, leaves as ellipses, arrows from operand to operation."""
    out = [
        "digraph backpropagation {",
        "  rankdir=TB;",
        '  node [fontname="Helvetica"];',
        *_clusters(trace, None, "  "),
    ]
    used = {o.tensor for node in trace.nodes for o in node.operands if o.tensor is not None}
    for tensor in trace.tensors:
        if tensor.node is None and tensor.id in used:
            style = "solid" if tensor.requires_grad else "dashed"
            label = f"{called(trace, tensor.id)}\\n{tuple(tensor.values.shape)}"
            out.append(f"  t{tensor.id} [shape=ellipse, style={style}, label={_quoted(label)}];")
    for node in trace.nodes:
        for operand in node.operands:
            if operand.tensor is None:
                continue
            source = trace.tensors[operand.tensor]
            start = f"t{source.id}" if source.node is None else f"n{source.node}"
            style = "solid" if trace.tape.entries[node.id].operands[node.operands.index(operand)].needed else "dashed"
            out.append(f"  {start} -> n{node.id} [style={style}];")
    return "\n".join([*out, "}"])


def _clusters(trace: Trace, parent: int | None, indent: str) -> list[str]:
    out = []
    for node in trace.nodes:
        if node.module == parent:
            label = f"{node.primitive}\\n{called(trace, node.output)}"
            out.append(f"{indent}n{node.id} [shape=box, label={_quoted(label)}];")
    for module in trace.modules:
        if module.parent == parent:
            inner = _clusters(trace, module.id, indent + "  ")
            if inner:
                title = f"{module.name}: {module.kind}"
                out += [
                    f"{indent}subgraph cluster_{module.id} {{",
                    f"{indent}  label={_quoted(title)};",
                    *inner,
                    indent + "}",
                ]
    return out


def _quoted(text: str) -> str:
    escaped = text.replace("\\n", "\n").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
