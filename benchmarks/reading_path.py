"""How much code does a student hold to follow `loss.backward()` of a linear layer and a log-softmax?

One training step, traced line by line, run by the definition (`autograd.by_definition()`) and as usual. Counted are the
lines of code that ran, and the functions they stand in; code lines are without blank lines, comments and docstrings.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import defaultdict
from pathlib import Path
from typing import Any

import tinygrad_med as torch
from tinygrad_med.autograd import by_definition

RESULTS = Path(__file__).with_name("results")
PACKAGE = Path(torch.__file__).parent
FILES = ("tensor.py", "primitive.py", "backward.py", "modes.py")
"""The files that say what a tensor, an operation, its record and the walk are."""

CONCEPTS = (
    "tensor: an array, and where it came from",
    "leaf and its `grad`",
    "record (`origin`): one operation that happened",
    "node: a record or a leaf; `inputs`",
    "primitive: a forward on arrays",
    "constants beside operands",
    "derivative rule per operand",
    "what a rule names is what is saved",
    "number: newest first, so nothing recurses",
    "pending gradients, which add up where a value was used twice",
    "`sum_to`: broadcasting undone by the walk",
    "rules on arrays, or on tensors under `create_graph`",
)
"""What a reader must hold in mind for it."""

BARS = {"code lines of the four files": 330, "lines of them that the step runs, by the definition": 170, "concepts": 12}

GENERATED = "the generated calls, which begin alike"


def step() -> Any:
    """The loss of four images of three pixels, two classes, and its gradients."""
    x, y = torch.tensor([[1.0, 2.0, 3.0]] * 4), torch.tensor([0, 1, 1, 0])
    w, b = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, requires_grad=True)

    def work() -> None:
        w.grad = b.grad = None
        (-torch.log_softmax(torch.nn.functional.linear(x, w, b), 1)[range(4), y].mean()).backward()

    return work


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    doc: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            doc |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in silent]
    return {n for t in tokens for n in range(t.start[0], t.end[0] + 1)} - doc


def traced(work: Any) -> tuple[dict[str, set[int]], set[tuple[str, str]]]:
    """By file of the package the lines that ran, and the functions."""
    lines: dict[str, set[int]] = defaultdict(set)
    functions = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(str(PACKAGE)) and not file.startswith("<tinygrad_med"):
            return None
        name = file.removeprefix(f"{PACKAGE}/") if file.startswith(str(PACKAGE)) else GENERATED
        functions.add((name, frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name))
        if event == "line":
            lines[name].add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return lines, functions


def main() -> None:
    """Print the table and write it to results/."""
    work = step()
    for _ in range(2):  # calls are generated at the first one
        work()
    usual, usual_functions = traced(work)
    with by_definition():
        work()
        plain, plain_functions = traced(work)
    whole = {name: len(code_lines((PACKAGE / "core" / name).read_text("utf-8"))) for name in FILES}
    in_core = {name: len(found) for name, found in plain.items() if name.startswith("core/")}
    measured = {
        "code lines of the four files": sum(whole.values()),
        "lines of them that the step runs, by the definition": sum(
            in_core[f"core/{n}"] for n in FILES if f"core/{n}" in in_core
        ),
        "concepts": len(CONCEPTS),
    }
    rows = [
        "# How much code does a student hold to follow one training step?",
        "",
        "`python benchmarks/reading_path.py`: " + str(__doc__).partition("\n\n")[2].replace("\n", " ").strip(),
        "",
        "| what | found | bar |",
        "|---|--:|--:|",
        *(f"| {name} | {found} | {BARS[name]} |" for name, found in measured.items()),
        f"| lines that the step runs in all files, operations and kernels too | {sum(map(len, plain.values()))} | |",
        f"| functions, by the definition | {len(plain_functions)} | |",
        f"| lines of the step as usual, generated ones too | {sum(map(len, usual.values()))} | |",
        f"| functions as usual | {len(usual_functions)} | |",
        "",
        "| file | code lines | lines that the step runs |",
        "|---|--:|--:|",
        *(f"| `core/{name}` | {whole[name]} | {in_core.get(f'core/{name}', 0)} |" for name in FILES),
        *(f"| `{n}` | | {len(found)} |" for n, found in sorted(plain.items()) if n.removeprefix("core/") not in FILES),
        "",
        "The concepts: " + "; ".join(CONCEPTS) + ".",
        "",
    ]
    text = "\n".join(rows)
    (RESULTS / "reading_path.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
