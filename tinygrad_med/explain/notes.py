"""What a reader of a trace should know beside its numbers."""

from __future__ import annotations

from tinygrad_med.explain.trace import Line, Node, Trace


def notes(trace: Trace) -> list[str]:
    """One sentence each: where the first NaN or infinity came from, what was not seen, what ended in an error."""
    found = []
    if not trace.walks:
        found.append("No backward() or grad() ran in the block, so there is only the way forward.")
    if trace.before:
        found.append(
            "A part of the graph was made before watch() began; its operations are not shown; run them inside."
        )
    found += [f"Walk {walk.id} ended with an error: {walk.error}" for walk in trace.walks if walk.error]
    return found + _nonfinite(trace)


def at(line: Line | None) -> str:
    """A line, for the end of a sentence."""
    return "" if line is None else f" at {line.file}:{line.number}" + (f" ({line.text})" if line.text else "")


def _nonfinite(trace: Trace) -> list[str]:
    tensors = trace.tensors
    for tensor in tensors:
        share = tensor.values.summary.nonfinite
        if not share:
            continue
        what = f"{share:.0%} of its elements" if share < 1 else "all of it"
        if tensor.node is None:
            name = tensor.name or f"a {tensor.kind} of shape {tuple(tensor.values.shape)}"
            return [f"The first NaN or infinity was there from the start: {name} has it ({what})."]
        node = trace.nodes[tensor.node]
        return [
            f"The first NaN or infinity is the result of {node.primitive} ({what}){at(node.line)}; {_of(trace, node)}."
        ]
    for walk in trace.walks:
        for step in walk.steps:
            if step.upstream.summary.nonfinite and step.seed:
                return [f"Walk {walk.id} was given a gradient with a NaN or an infinity."]
            bad = [c for c in step.contributions if c is not None and c.values.summary.nonfinite]
            if bad and step.node is not None:
                node = trace.nodes[step.node]
                operand = node.operands[bad[0].operand]
                rule = f"its operand {operand.name}{at(node.line)}, by the rule {operand.rule}; {_of(trace, node)}"
                begun = "Forward all numbers are finite; the first NaN or infinity on the way back is what"
                return [f"{begun} {node.primitive} contributes to {rule}."]
    return []


def _of(trace: Trace, node: Node) -> str:
    said = []
    for operand in node.operands:
        if operand.tensor is None:
            said.append(f"{operand.name} = {operand.value}")
            continue
        summary = trace.tensors[operand.tensor].values.summary
        said.append(
            f"{operand.name} from {summary.min:.4g} to {summary.max:.4g}" if summary.min is not None else operand.name
        )
    return "its operands: " + ", ".join(said)
