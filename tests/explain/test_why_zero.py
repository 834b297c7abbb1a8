"""why_zero names the planted cause, and on random programs just the causes that an oracle finds, number by number."""

import importlib
import pkgutil
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

import tinygrad_med as torch
import tinygrad_med.nn.functional as F
from tinygrad_med import explain, nn
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.explain.why import KINDS, SENTENCES, family


def leaf(*numbers, dtype="float64"):
    return torch.tensor(np.array(numbers, dtype), requires_grad=True)


# Twelve planted causes: a function of nothing that gives the leaf and its loss, and what is to be said of it


def dead_relu():
    w = leaf(1.0, -2.0, 3.0)
    return w, (w * torch.tensor([-1.0, 1.0, -1.0], dtype="float64")).relu().sum()


def dead_unit_of_a_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    model[0].bias.data = torch.full((2,), -100.0)
    return model[0].weight, F.cross_entropy(model(torch.randn(2, 1, 4, 4)), torch.tensor([0, 1]))


def dropped():
    torch.manual_seed(0)
    w = leaf(1.0, 2.0)
    return w, F.dropout(w, p=1.0).sum()


def saturated_sigmoid():
    w = leaf(-300.0, 400.0, dtype="float32")
    return w, w.sigmoid().sum()


def saturated_tanh():
    w = leaf(20.0, -20.0, dtype="float32")
    return w, (w.tanh() * 2).sum()


def saturated_softmax():
    w = leaf(0.0, 300.0, -300.0, dtype="float32")
    return w, torch.softmax(w, 0)[1] * 5


def lost_maximum():
    w = leaf(1.0, 2.0)
    return w, torch.maximum(w, torch.tensor([5.0, 6.0], dtype="float64")).sum()


def lost_pooling():
    w = leaf(1.0)
    x = torch.tensor(np.arange(16.0).reshape(1, 1, 4, 4))
    return w, F.max_pool2d(torch.cat([(x[..., :1] * 0 - w), x[..., 1:]], -1), 2).sum()


def clipped():
    w = leaf(7.0, -9.0)
    return w, (torch.clamp(w, min=-1, max=1) ** 2).sum()


def detached():
    w = leaf(1.0, 2.0)
    other = leaf(1.0, 1.0)
    return w, ((w * 2).detach() * other).sum()


def under_no_grad():
    w, other = leaf(1.0, 2.0), leaf(1.0, 1.0)
    with torch.no_grad():
        h = w * 2
    return w, (h * other).sum()


def independent():
    w, other = leaf(1.0), leaf(2.0)
    w * 3
    return w, other * 2


def zero_factor():
    w = leaf(1.0, 2.0)
    return w, (w * torch.tensor([0.0, 0.0], dtype="float64")).sum()


def zero_factor_where_only_a_part_has_a_gradient():
    w = leaf(1.0)
    return w, (w * torch.tensor([0.0, 0.0], dtype="float64") * torch.tensor([1.0, 0.0], dtype="float64")).sum()


def zero_input_of_a_layer():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model.weight, (model(torch.zeros(4, 3)) * 3).sum()


def cancellation_of_two_paths():
    w = leaf(1.0, 2.0)
    return w, (w * 3 - w * 3).sum()


def cancellation_in_a_broadcast():
    w = leaf(3.0)
    return w, (w * torch.tensor([1.0, -1.0], dtype="float64")).sum()


def underflow_of_a_product():
    w = leaf(1.0, 2.0, dtype="float32")
    return w, ((w * 1e-30) * 1e-30).sum()


def underflow_of_a_half():
    w = leaf(1.0, dtype="float16")
    return w, ((w * 1e-4) * 1e-4).sum()


def underflow_in_a_matrix_product():
    w = leaf(1.0, 2.0, dtype="float32")
    return w, ((w.reshape(1, 2) @ torch.tensor([[1e-30], [2e-30]])) * 1e-30).sum()


def underflow_of_an_exponential():
    w = leaf(-200.0, -300.0, dtype="float32")
    return w, w.exp().sum()


def a_comparison():
    w, other = leaf(1.0, -2.0), leaf(1.0, 1.0)
    return w, ((w > 0) * other).sum()


def an_index():
    w = leaf(1.0, -2.0)
    return w, torch.cat([w, leaf(5.0)])[2] * 2


def the_argmax():
    w, other = leaf(1.0, -2.0), leaf(4.0)
    return w, torch.cat([w, other]).max(0).values * 2


def a_step():
    w = leaf(1.2, -2.2)
    return w, w.round().sum()


def a_choice():
    w = leaf(1.0, 2.0)
    return w, torch.where(torch.tensor([False, False]), w, 1.0).sum()


def a_hook():
    w = leaf(1.0, 2.0)
    h = w * 2
    h.register_hook(lambda g: g * 0)
    return w, h.sum()


def a_hook_of_a_module():
    model = nn.Linear(2, 2)
    model.register_full_backward_hook(lambda m, inputs, outputs: tuple(g * 0 for g in inputs))
    w = leaf(1.0, 2.0, dtype="float32")
    return w, model(w.reshape(1, 2)).sum()


def a_given_zero():
    w = leaf(1.0, 2.0)
    return w, (w * 2).sum() * 0


PLANTED = {
    dead_relu: ("relu", "relu"),
    dead_unit_of_a_network: ("relu", "relu"),
    dropped: ("dropout", "mul"),
    saturated_sigmoid: ("saturated", "sigmoid"),
    saturated_tanh: ("saturated", "tanh"),
    saturated_softmax: ("saturated", "softmax"),
    lost_maximum: ("maximum", "maximum"),
    lost_pooling: ("maximum", None),
    the_argmax: ("maximum", "index"),
    clipped: ("clip", None),
    detached: ("detached", "mul"),
    under_no_grad: ("no_grad", "mul"),
    a_comparison: ("not differentiable", "gt"),
    independent: ("independent", None),
    zero_factor: ("zero operand", "mul"),
    zero_factor_where_only_a_part_has_a_gradient: ("zero operand", "mul"),
    zero_input_of_a_layer: ("zero operand", "linear"),
    a_given_zero: ("zero operand", "mul"),
    cancellation_of_two_paths: ("cancellation", "mul"),
    cancellation_in_a_broadcast: ("cancellation", "mul"),
    underflow_of_a_product: ("underflow", "mul"),
    underflow_of_a_half: ("underflow", "mul"),
    underflow_in_a_matrix_product: ("underflow", "matmul"),
    underflow_of_an_exponential: ("underflow", "exp"),
    an_index: ("not read", "index"),
    a_step: ("flat", "round"),
    a_choice: ("where", "select"),
    a_hook: ("hook", "mul"),
    a_hook_of_a_module: ("hook", "gate"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda f: f.__name__)
def test_the_planted_cause_is_named(plant):
    with np.errstate(all="ignore"), explain.watch() as trace:
        w, loss = plant()
        loss.backward()
    assert w.grad is None or not w.grad.numpy().any(), "the plant did not grow"
    answer = explain.why_zero(w, trace)
    kind, primitive = PLANTED[plant]
    assert {cause.kind for cause in answer.causes} == {kind}, answer.text
    assert sum(cause.share for cause in answer.causes) == pytest.approx(1)
    if plant is zero_factor_where_only_a_part_has_a_gradient:
        assert [cause.node for cause in answer.causes] == [0]  # the other product could not help
    if primitive is not None:
        assert {trace.nodes[cause.node].primitive for cause in answer.causes} == {primitive}
    assert plant.__name__ in ("independent", "detached") or "zero" in answer.text
    written = [why for why in trace.to_dict()["why"] if why["tensor"] == answer.tensor and why["element"] is None]
    assert [why["text"] for why in written] == [answer.text]


def test_a_saturated_classifier():
    w = leaf(0.0, 300.0, -300.0, dtype="float32")
    with explain.watch() as trace:
        F.cross_entropy(w.reshape(1, 3), torch.tensor([1])).backward()
    assert w.grad.tolist() == [0.0, 0.0, 0.0]
    answer = explain.why_zero(w, trace)
    assert [(c.kind, trace.nodes[c.node].primitive) for c in answer.causes] == [("saturated", "log_softmax")]


def test_several_causes_have_their_shares():
    w = leaf(-1.0, -1.0, 5.0, 1.0)
    with explain.watch() as trace:
        h = torch.clamp(w, max=3.0)
        (h.relu() * torch.tensor([1.0, 1.0, 1.0, 0.0], dtype="float64")).sum().backward()
    answer = explain.why_zero(w, trace)
    assert [(c.kind, c.share) for c in answer.causes] == [("relu", 0.5), ("clip", 0.25), ("zero operand", 0.25)] or [
        (c.kind, c.share) for c in answer.causes
    ] == [("relu", 0.5), ("zero operand", 0.25), ("clip", 0.25)]
    assert "50%: relu" in answer.text and "zero in all 4 elements" in answer.text
    one = explain.why_zero(w, trace, 2)
    assert [(c.kind, c.share) for c in one.causes] == [("clip", 1.0)] and "element 2 of w" in one.text


def test_a_gradient_that_is_not_zero_says_so():
    w = leaf(-1.0, 2.0)
    with explain.watch() as trace:
        w.relu().sum().backward()
    answer = explain.why_zero(w, trace, 1)
    assert answer.causes == [] and "is not zero: it is 1" in answer.text
    with np.errstate(all="ignore"), explain.watch() as trace:
        (w.log() * 0 + w).sum().backward()
    assert explain.why_zero(w, trace).causes == []
    with np.errstate(all="ignore"), explain.watch() as trace:
        (w * np.nan).sum().backward()
    assert "NaN or infinite" in explain.why_zero(w, trace).text


def test_a_walk_that_asked_for_others():
    w, other = leaf(1.0), leaf(2.0)
    with explain.watch() as trace:
        torch.autograd.grad(w * other, other)
    assert [c.kind for c in explain.why_zero(w, trace).causes] == ["not asked"]


def test_a_tensor_that_requires_no_gradient():
    w, x = leaf(1.0), torch.tensor([2.0], dtype="float64")
    with explain.watch() as trace:
        (w * x).backward()
    assert "requires no gradient" in explain.why_zero(x, trace).text


def test_a_large_network_is_asked_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten())
    model[0].bias.data = torch.tensor([-100.0] + [0.0] * 7)
    with explain.watch() as trace:
        (model(torch.randn(2, 1, 16, 16)) ** 2).mean().backward()
    dead = explain.why_zero(model[0].weight, trace, (0, 0, 1, 1))
    assert {c.kind for c in dead.causes} == {"relu", "maximum"}  # the first of equal zeros wins, relu stops it
    assert sum(c.share for c in dead.causes if c.kind == "maximum") == pytest.approx(0.75, abs=0.02)
    behind = explain.why_zero(model[3].weight, trace, (3, 0, 1, 1))  # its input is 0: the unit before it is dead
    assert [(c.kind, trace.nodes[c.node].primitive[:4]) for c in behind.causes] == [("zero operand", "conv")]
    assert explain.why_zero(model[3].weight, trace, (3, 1, 1, 1)).causes == []


def test_every_kind_has_its_sentence_and_every_name_is_an_operation():
    modules = [importlib.import_module(f"tinygrad_med.ops.{m.name}") for m in pkgutil.iter_modules(torch.ops.__path__)]
    primitives = {
        family(str(p)) for m in modules for p in vars(m).values() if isinstance(p, Primitive) and p.differentiable
    }
    assert set(KINDS.values()) <= set(SENTENCES)
    assert set(KINDS) <= primitives


# Random programs ----------------------------------------------------------------------------------------------------


class Cell:
    """One number of the oracle: its value, and the operations that read it."""

    def __init__(self, value):
        self.value, self.gradient, self.uses = Fraction(value), None, []


class Column:
    """Cells (n, 1), with the tensor that holds the same numbers."""

    def __init__(self, tensor, cells):
        self.tensor, self.cells = tensor, cells


class Use:
    """One operand of one operation: per cell of it, what it enters and by what factor."""

    def __init__(self, name, kind, operand, output, edges):
        self.name, self.kind, self.operand, self.output, self.edges = name, kind, operand, output, edges


class Program:
    """A random program, run by the engine and by the oracle, which knows the calculus of single numbers alone."""

    def __init__(self):
        self.uses, self.columns = [], []

    def column(self, tensor, values=None):
        numbers = tensor.detach().numpy().reshape(-1).tolist()
        column = Column(tensor, [Cell(v) for v in numbers])
        if values is not None:
            assert [c.value for c in column.cells] == values
        self.columns.append(column)
        return column

    def add(self, kind, tensor, operands, factor, reads=None):
        """An operation: `factor(i, r, c)` is the derivative of result r by cell c of operand i, `None` if it does not
        enter."""
        out = self.column(tensor)
        for i, x in enumerate(operands):
            edges = {}
            for c in range(len(x.cells)):
                found = [(r, factor(i, r, c)) for r in range(len(out.cells))]
                edges[c] = [(r, Fraction(j)) for r, j in found if j is not None]
            self.uses.append(Use(tensor, kind, x, out, edges))
        return out

    def elementwise(self, kind, tensor, operands, factor):
        """Likewise for one that broadcasts: `factor(i, *values)`."""
        sizes = [len(x.cells) for x in operands]
        n = max(sizes)

        def local(i, r, c):
            if c != (r if sizes[i] == n else 0):
                return None
            return factor(i, *(x.cells[r if size == n else 0].value for x, size in zip(operands, sizes, strict=True)))

        return self.add(kind, tensor, operands, local)

    def walk_back(self, loss):
        for column in self.columns:
            for cell in column.cells:
                cell.gradient = Fraction(0)
        loss.cells[0].gradient = Fraction(1)
        for use in reversed(self.uses):
            for c, edges in use.edges.items():
                use.operand.cells[c].gradient += sum(use.output.cells[r].gradient * j for r, j in edges)

    def causes(self, column, c, reaching):
        """The causes, by kind and by the column that they made, with their shares, for a cell whose gradient is 0."""
        found = Counter()
        uses = [u for u in self.uses if u.operand is column and u.output in reaching]
        if any(sum(u.output.cells[r].gradient * j for r, j in u.edges[c]) for u in uses):
            return Counter({("cancellation", None): Fraction(1)})
        for use in uses:
            cells, edges = use.output.cells, use.edges[c]
            made = (use.kind, id(use.output))
            if any(cells[r].gradient * j for r, j in edges):
                found["cancellation", None] += Fraction(1, len(uses))
                continue
            if use.kind == "maximum of all" and cells[0].gradient:
                found["maximum", id(use.output)] += Fraction(1, len(uses))
                continue
            if not edges and any(cell.gradient for cell in cells):  # an index that did not read it
                found[made] += Fraction(1, len(uses))
                continue
            edges = edges or [(r, 0) for r in range(len(cells))]
            blocked = any(cells[r].gradient for r, j in edges)
            if blocked and not any(j for _, j in edges):  # nothing that comes from the loss could help
                edges = [(r, j) for r, j in edges if cells[r].gradient]
            for r, _ in edges:
                share = Fraction(1, len(uses) * len(edges))
                if cells[r].gradient:
                    found[made] += share
                    continue
                for cause, part in self.causes(use.output, r, reaching).items():
                    found[cause] += share * part
        return found


NUMBERS = st.integers(-2, 2)


OPERATIONS = "add sub mul square relu maximum clip where scale matmul sum amax index tanh detach"


def larger(p, q):
    """What of the gradient of maximum(p, q) goes to p: ties share."""
    return Fraction(int(p > q) + int(p >= q), 2)


def build(draw, program, leaves):
    values = list(leaves)
    for _ in range(draw(st.integers(4, 12))):
        x, y = (values[-draw(st.integers(1, min(len(values), 5)))] for _ in range(2))
        a, b = x.tensor, y.tensor
        three = len(x.cells) == 3
        constant = [draw(NUMBERS) for _ in range(3)]
        column = np.array(constant, "float64").reshape(3, 1)
        name = draw(st.sampled_from(OPERATIONS.split()))
        if name == "add":
            z = program.elementwise("flat", a + b, [x, y], lambda i, p, q: 1)
        elif name == "sub":
            z = program.elementwise("flat", a - b, [x, y], lambda i, p, q: 1 - 2 * i)
        elif name == "mul":
            z = program.elementwise("zero operand", a * b, [x, y], lambda i, p, q: (q, p)[i])
        elif name == "square":
            z = program.elementwise("zero operand", a * a, [x, x], lambda i, p, q: p)
        elif name == "relu":
            z = program.elementwise("relu", a.relu(), [x], lambda i, p: int(p > 0))
        elif name == "maximum":
            z = program.elementwise(
                "maximum", torch.maximum(a, b), [x, y], lambda i, p, q: larger(q, p) if i else larger(p, q)
            )
        elif name == "clip":
            bound = constant[0]
            z = program.elementwise("clip", torch.clamp(a, min=bound), [x], lambda i, p, bound=bound: int(p >= bound))
        elif name == "where" and three:
            mask = column > 0
            z = program.add(
                "where",
                torch.where(torch.tensor(mask), a, 0.0),
                [x],
                lambda i, r, c, mask=mask: int(mask[r, 0]) if r == c else None,
            )
        elif name == "scale" and three:
            z = program.add(
                "zero operand",
                a * torch.tensor(column),
                [x],
                lambda i, r, c, constant=constant: constant[r] if r == c else None,
            )
        elif name == "matmul" and three:
            matrix = np.array([[draw(NUMBERS) for _ in range(3)] for _ in range(3)], "float64")
            z = program.add("zero operand", torch.tensor(matrix) @ a, [x], lambda i, r, c, m=matrix: int(m[r, c]))
        elif name == "sum" and three:
            z = program.add("flat", a.sum(0, keepdim=True), [x], lambda i, r, c: 1)
        elif name == "amax" and three:
            top = max(cell.value for cell in x.cells)
            many = sum(cell.value == top for cell in x.cells)
            assume(many < 3)  # a third is no float
            z = program.add(
                "maximum of all",
                a.amax(0, keepdim=True),
                [x],
                lambda i, r, c, x=x, top=top, many=many: Fraction(int(x.cells[c].value == top), many),
            )
        elif name == "index" and three:
            rows = [abs(v) for v in constant]
            z = program.add(
                "not read", a[torch.tensor(rows)], [x], lambda i, r, c, rows=rows: 1 if rows[r] == c else None
            )
        elif name == "tanh":
            w = program.elementwise("flat", a * 40, [x], lambda i, p: 40)
            assume(all(cell.value.denominator == 1 for cell in w.cells))
            z = program.elementwise("saturated", w.tensor.tanh(), [w], lambda i, p: int(p == 0))
        elif name == "detach":
            z = program.column(a.detach() * 1)
        else:
            continue
        assume(all(abs(cell.value) < 2**20 for cell in z.cells))
        values.append(z)
    return values


@st.composite
def programs(draw):
    program = Program()
    leaves = [
        program.column(
            torch.tensor(np.array([draw(NUMBERS) for _ in range(n)], "float64").reshape(n, 1), requires_grad=True)
        )
        for n in (3, 3, 1)
    ]
    trace_of = explain.watch()
    with trace_of as trace:
        values = build(draw, program, leaves)
        chosen = values[-1]
        assume(chosen.tensor.requires_grad)
        other = values[draw(st.integers(0, len(values) - 1))]
        total = program.elementwise("flat", chosen.tensor + other.tensor, [chosen, other], lambda i, p, q: 1)
        loss = program.add("flat", total.tensor.sum((0, 1)), [total], lambda i, r, c: 1)
        loss.tensor.backward()
    program.walk_back(loss)
    return program, leaves, loss, trace


def check(case):
    program, leaves, loss, trace = case
    reaching = {loss}
    for use in reversed(program.uses):
        if use.output in reaching:
            reaching.add(use.operand)
    made = {trace.tensors[i].node: id(c) for c in program.columns if (i := trace.finder(c.tensor)) is not None}
    for x in leaves:
        if trace.finder(x.tensor) is None:
            continue
        if x not in reaching:
            assert x.tensor.grad is None
            kinds = {cause.kind for cause in explain.why_zero(x.tensor, trace).causes}
            assert kinds <= {"independent", "detached"}
            continue
        for c, cell in enumerate(x.cells):
            assert x.tensor.grad.numpy().reshape(-1)[c] == cell.gradient
            answer = explain.why_zero(x.tensor, trace, (c, 0))
            if cell.gradient:
                assert answer.causes == []
                continue
            got = Counter()
            for cause in answer.causes:
                kind = cause.kind
                got[kind, None if kind == "cancellation" else made[cause.node]] += cause.share
            expected = {cause: float(share) for cause, share in program.causes(x, c, reaching).items()}
            assert dict(got) == pytest.approx(expected), answer.text


@settings(suppress_health_check=list(HealthCheck), max_examples=max(150, min(settings.default.max_examples, 1000)))
@given(programs())
def test_random_programs_are_blamed_for_nothing_else(case):
    check(case)
