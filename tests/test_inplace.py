"""Writes in the graph: a tensor that is written in place becomes the result of the write, as in PyTorch.

Random programs with such writes are in `test_random_programs.py`."""

import gc
import importlib
import inspect

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import autograd
from tinygrad_med.engine import switches
from tinygrad_med.engine.writes import REMEMBERED, writes

X = [[0.3, -1.2, 0.7], [1.5, 0.4, -0.6]]
W = [[0.9, 0.2, -0.5], [-0.8, 1.1, 0.6]]


def written(name, *values, **kwargs):
    """The program that calls one method in place on a result."""

    def program(lib, x, w):
        y = x * w
        same = y
        values_of = [v(lib, x, w) if callable(v) else v for v in values]
        assert getattr(y, name)(*values_of, **kwargs) is y and same is y
        return y

    return program


def at(key, value):
    """The program that assigns an item of a result."""

    def program(lib, x, w):
        y = x * w
        y[key(lib, y) if callable(key) else key] = value(lib, x, w) if callable(value) else value
        return y * y

    return program


def operator_program(text):
    """The program that runs some lines on y, a result."""

    def program(lib, x, w):
        scope = {"lib": lib, "x": x, "w": w, "y": x * w}
        exec(text, scope)
        return scope["y"]

    return program


PROGRAMS = {
    "add_": written("add_", lambda lib, x, w: w),
    "add_ with alpha": written("add_", lambda lib, x, w: w, alpha=3),
    "sub_ itself": operator_program("y.sub_(y * 2)"),
    "mul_": written("mul_", lambda lib, x, w: x),
    "mul_ by a row": written("mul_", lambda lib, x, w: w[0]),
    "div_": written("div_", lambda lib, x, w: w),
    "pow_": written("pow_", 3),
    "remainder_": written("remainder_", 0.7),
    "exp_": written("exp_"),
    "tanh_": written("tanh_"),
    "sigmoid_": written("sigmoid_"),
    "relu_": written("relu_"),
    "square_ twice": operator_program("y.square_().square_()"),
    "abs_": written("abs_"),
    "neg_": written("neg_"),
    "floor_": written("floor_"),
    "clamp_": written("clamp_", -0.3, 0.3),
    "clamp_ by one side": written("clamp_", min=0.1),
    "masked_fill_": written("masked_fill_", lambda lib, x, w: x > 0, 2.0),
    "lerp_": written("lerp_", lambda lib, x, w: w, 0.3),
    "addcmul_": written("addcmul_", lambda lib, x, w: x, lambda lib, x, w: w),
    "tril_": written("tril_"),
    "cumsum_": written("cumsum_", 1),
    "index_add_": written("index_add_", 1, lambda lib, x, w: lib.tensor([0, 0]), lambda lib, x, w: w[:, 1:]),
    "zero_": written("zero_"),
    "fill_": written("fill_", 3),
    "fill_ with a result": written("fill_", lambda lib, x, w: x.sum()),
    "copy_": written("copy_", lambda lib, x, w: w * 2),
    "copy_ of a row": written("copy_", lambda lib, x, w: w[1]),
    "copy_ of another dtype": written("copy_", lambda lib, x, w: w.float()),
    "mul_ of another dtype": written("mul_", lambda lib, x, w: w.float()),
    "lt_": written("lt_", 0.1),
    "+=": operator_program("y += w"),
    "-=": operator_program("y -= w * x"),
    "*= a number": operator_program("y *= 2"),
    "/=": operator_program("y /= w"),
    "**=": operator_program("y **= 2"),
    "mask = number": at(lambda lib, y: y > 0, 0.0),
    "mask = vector": at(lambda lib, y: y > 0, lambda lib, x, w: w.reshape(-1)[:2]),
    "row = row": at(0, lambda lib, x, w: w[1]),
    "column = column": at((slice(None), 0), lambda lib, x, w: x[:, 2] * 2),
    "column = number": at((slice(None), -1), 1.5),
    "all = row": at(..., lambda lib, x, w: w[1]),
    "all = one more dim": at(slice(None), lambda lib, x, w: w[None]),
    "element = element": at((0, 1), lambda lib, x, w: w[1, 1]),
    "rows by indices": at(lambda lib, y: lib.tensor([1, 0]), lambda lib, x, w: w),
    "an element of rows by indices": at(
        lambda lib, y: (slice(None), lib.tensor([2, 0])), lambda lib, x, w: w[:, :2] * x[:, 1:]
    ),
    "an integer and indices": at(lambda lib, y: (1, lib.tensor([2, 0])), lambda lib, x, w: w[0, :2]),
    "item += ": operator_program("y[0] += w[1]"),
    "item *= ": operator_program("y[:, 1] *= x[:, 0]; y[1] *= 2"),
    "mask += ": operator_program("y[y > 0] += 1"),
    "a loop over items": operator_program("for i in range(3): y[:, i] *= x[:, i] + i"),
    "a view is written": operator_program("row = y[0]; row *= x[1]; row.add_(1)"),
    "a view of a view is written": operator_program("y[0][1:].mul_(x[1, :2])"),
    "a transposed view is written": operator_program("y.T.mul_(w.T)"),
    "a view of a written base": operator_program("row = y[0]; y.mul_(w); y = row * y"),
    "a view beside": operator_program("a, b = y[0], y[1]; a.mul_(2); b.add_(w[0]); y = a * b + y"),
    "views that overlap": operator_program(
        "a, b = y[:, :2], y[:, 1:]; a *= w[:, 1:]; b *= x[:, :2]; y = a * b + y[:, :2]"
    ),
    "a base, its view, its base": operator_program("v = y.reshape(-1); y *= 2; v *= 3; y += 1; v.tanh_(); y = y * w"),
    "the column before": operator_program("y[:, 1] = y[:, 0]; y[:, 2] = y[:, 1] + y[:, 0]"),
    "a buffer is filled": operator_program(
        "z = lib.zeros(2, 3).double()\nfor i in range(2): z[i] = y[i] * w[i]\ny = z"
    ),
    "a buffer is summed up": operator_program("z = lib.zeros(3).double()\nfor row in y: z += row * row\ny = z"),
    "a buffer's items": operator_program("z = lib.zeros(3).double()\nfor i in range(3): z[i] += y[1, i]\ny = z"),
    "a buffer by two dims": operator_program(
        "z = lib.ones(2, 3).double()\nfor i in range(2):\n  for j in range(3): z[i, j] *= y[i, j] * x[1, j]\ny = z"
    ),
    "a buffer without dims": operator_program("z = lib.tensor(0.).double()\nfor v in y[0]: z += v * v\ny = z"),
    "a result without dims": operator_program("y = y.sum(); y *= w[1, 1]; y += w[0, 0]; y = y * 2"),
    "a residual block": operator_program("z = y.relu(); z = z @ w.T @ x; z += y; y = z.relu_()"),
    "detached before": operator_program("d = y.detach(); y *= 2; y = y * d"),
    "detached after": operator_program("d0 = y.detach(); y *= w; y = y * y[0].detach() * y.detach()[1] * d0[0]"),
    "cloned before": operator_program("z = y.clone(); y *= 2; y = y * z"),
    "a saved value of its own": operator_program("y = y * 1; z = y + 1; y.exp_(); y = y + z"),
    "no_grad leaves the graph alone": operator_program("z = y + 1\nwith lib.no_grad(): y.mul_(3)\ny = y + z"),
    "three dims": operator_program("y = y[None] @ w.T; y += 1; y[0] *= x[:, :2]; y[:, :, 0] = w[0, 0]"),
    "masked_fill_ of a view": operator_program("y[1].masked_fill_(w[1] > 0, 0.0)"),
    "an upper triangle": operator_program("y = y.T @ w; y[lib.ones(3, 3).triu(1).bool()] = 0"),
}


def leaves(lib):
    return [lib.tensor(values, dtype=lib.float64, requires_grad=True) for values in (X, W)]


def story(lib, program):
    """Value, gradients, and gradients of a sum of the gradients."""
    x, w = leaves(lib)
    y = program(lib, x, w)
    c = lib.arange(1.0, y.numel() + 1, dtype=lib.float64).reshape(y.shape)
    first = autograd_of(lib).grad((y * y * c + y).sum(), [x, w], create_graph=True, allow_unused=True)
    found = [y, *(g for g in first if g is not None)]
    total = sum((g * g).sum() for g in first if g is not None and g.requires_grad)
    if isinstance(total, type(y)):
        found += [g for g in autograd_of(lib).grad(total, [x, w], allow_unused=True) if g is not None]
    return [t.detach().numpy() for t in found]


def autograd_of(lib):
    return autograd if lib is tm else lib.autograd


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_in_pytorch(torch, name):
    ours, theirs = story(tm, PROGRAMS[name]), story(torch, PROGRAMS[name])
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6 if "dtype" in name else 1e-12, atol=1e-12)  # that is of float32


@pytest.mark.parametrize("name", PROGRAMS)
def test_by_definition_too(name):
    usual = story(tm, PROGRAMS[name])
    with autograd.by_definition():
        plain = story(tm, PROGRAMS[name])
    assert all(np.array_equal(a, b) for a, b in zip(usual, plain, strict=True))


def gradient(text):
    """The gradient of x, for some lines that make y of x · w."""
    x, w = leaves(tm)
    y = operator_program(text)(tm, x, w)
    return tm.grad(y.sum(), x)[0].numpy()


def test_more_than_pytorch_lets_pass():
    """Where nobody else looks at the memory, an operation may keep what was there: nothing is overwritten."""
    x, w = np.array(X), np.array(W)
    np.testing.assert_allclose(gradient("y.mul_(y)"), 2 * x * w * w)
    np.testing.assert_allclose(gradient("y = y.exp(); y += 1; y *= y"), 2 * (np.exp(x * w) + 1) * np.exp(x * w) * w)
    np.testing.assert_allclose(gradient("y = y.tanh_(); y *= 2"), 2 * (1 - np.tanh(x * w) ** 2) * w)
    np.testing.assert_allclose(gradient("y[0] = [1.0, 2.0, 3.0]"), [[0.0] * 3, W[1]])
    np.testing.assert_allclose(gradient("y = y.sum().exp(); y *= 3"), 3 * np.exp((x * w).sum()) * w)


def test_of_several_values_for_one_place_the_last_counts():
    x = tm.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    y = tm.zeros(3)
    y[tm.tensor([0, 2, 0, 2])] = x
    assert y.tolist() == [3.0, 0.0, 4.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z = y * y; y[0] = 0.0; y = z", "mul: its operand x, which the derivative needs, was overwritten in place at"),
        ("z = y.exp(); v = z[0]; v += 1; y = z", "exp: its result, which the derivative needs, was overwritten"),
        ("y[:, 1] = y[:, 0] * y[:, 2]", "mul: its operand"),
        ("x += 1", "add_: a leaf"),
        ("x[0] = 1.0", "item assignment: a leaf"),
        ("x[0].mul_(2)", "mul_: a view of a leaf"),
        ("x.T[1:].zero_()", "fill_: a view of a leaf"),
        ("row = x[0]; row += 1", "add_: a view of a leaf"),
        ("b = lib.zeros(2, 3).double(); row = b[0]; row += w[0]; y = b", "lost here; use the tensor that was written"),
        ("b = lib.zeros(2, 3).double(); row = b[0]; b[0] = w[0]; y = y + row", "lost here"),
        ("d = y.detach(); d += w", "through a detached tensor"),
        ("z = y[:1].expand(2, 3); z += 1", "one place in memory"),
        ("v = y.sum().reshape(1); v += 1", "a result without dims"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(RuntimeError, match=message):
        gradient(text)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("y += lib.zeros(4, 2, 3).double()", ValueError, "add_: the result has shape .4, 2, 3., it does not fit"),
        ("y[0] = w", ValueError, "does not fit|could not be broadcast"),
        ("y[0] = w[0, :2]", ValueError, "setitem: could not broadcast"),
        ("y[5] = w[0]", IndexError, "out of bounds"),
        ("z = lib.tensor([1, 2]); z.exp_()", TypeError, "exp_: the result is float32, and can't be written to a int64"),
        ("y.sum_()", AttributeError, "sum_"),
    ],
)
def test_what_does_not_fit(text, kind, message):
    with pytest.raises(kind, match=message):
        gradient(text)


def test_one_element_takes_a_vector_of_one():
    y = tm.zeros(2)
    y[1] = tm.tensor([3.0])
    assert y.tolist() == [0.0, 3.0]


def test_a_result_without_dims_can_be_written_by_a_mask():
    x = tm.tensor([0.5, 2.0], requires_grad=True)
    y = x.prod()
    y[y > 0.2] = 0.3
    assert y.item() == pytest.approx(0.3) and tm.grad(y * 2, x)[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("tanh_", lambda x: x.tanh_()),
        ("mul_", lambda x: x.mul_(2)),
        ("fill_", lambda x: x.fill_(1)),
        ("copy_", lambda x: x.copy_(x)),
        ("item assignment", lambda x: x.__setitem__(0, 1.0)),
    ],
)
def test_memory_that_cant_be_written_is_refused_by_name(name, write):
    with pytest.raises(RuntimeError, match=f"{name}: several elements of x are one place in memory, as after expand"):
        write(tm.ones(3).expand(2, 3))
    numbers = np.ones(3)
    numbers.flags.writeable = False
    with pytest.raises(RuntimeError, match=f"{name}: the memory of x may be read only"):
        write(tm.Tensor(numbers))
    assert numbers.tolist() == [1.0, 1.0, 1.0]


def test_a_diagonal_is_a_view():
    x, w = tm.ones(2, 3), tm.tensor([2.0, 3.0], requires_grad=True)
    x.diagonal().fill_(0)
    assert x.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]
    y = x * w[0]
    y.diagonal(1).mul_(w)
    assert tm.grad(y.sum(), w)[0].tolist() == [9.0, 2.0]  # 2w₀ + w₀² + w₀w₁ for the elements 0, 2, 3, 5


def test_what_is_no_view_has_memory_of_its_own():
    x = tm.tensor([[1.0, 2.0, 3.0]])
    for y in (x.flip(0), x.repeat(2, 1), x.repeat(1, 1), tm.rot90(x), tm.tile(x, (1, 1)), tm.einsum("ij->ji", x)):
        y[0, 0] = 7.0
        assert x.tolist() == [[1.0, 2.0, 3.0]] and (y == 7).sum() == 1


def test_integers_take_the_numbers_alone():
    x = tm.tensor([1.5, 2.5], requires_grad=True)
    y = tm.tensor([7, 8])
    y[0] = x[1]
    assert y.tolist() == [2, 8] and not y.requires_grad


@pytest.mark.parametrize("lib", ["tinygrad_med", "torch"])
def test_hooks_stay_and_retain_grad_follows(lib, request):
    lib = tm if lib == "tinygrad_med" else request.getfixturevalue("torch")
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.retain_grad()
    y.mul_(x)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y[0] *= 5
    (y * 3).sum().backward()
    assert seen == [[15.0, 3.0], [15.0, 6.0]] and y.grad.tolist() == [3.0, 3.0] and x.grad.tolist() == [60.0, 24.0]


@pytest.mark.parametrize("lib", ["tinygrad_med", "torch"])
def test_a_hook_on_a_written_view_concerns_that_view_alone(lib, request):
    lib = tm if lib == "tinygrad_med" else request.getfixturevalue("torch")
    x = lib.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x * 2
    view = y[0]
    view.retain_grad()
    view.mul_(3)
    view.register_hook(lambda g: g * 10)
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [[6.0, 6.0], [2.0, 2.0]]
    (view * 7).sum().backward()
    assert view.grad.tolist() == [70.0, 70.0] and x.grad.tolist() == [[426.0, 426.0], [2.0, 2.0]]


def test_a_view_of_a_leaf_stays_unwritten_after_the_walk_too(torch):
    for lib in (tm, torch):
        w = lib.ones(2, 2, requires_grad=True)
        view = w[None][0]
        view.sum().backward()
        with pytest.raises(RuntimeError, match="a view of a leaf"):
            view.mul_(0.5)
        assert w.tolist() == [[1.0, 1.0], [1.0, 1.0]]
        with lib.no_grad():
            view.mul_(0.5)
        assert w.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_view_of_a_result_is_written_after_the_walk_too(torch):
    for lib in (tm, torch):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        view = y[:1]
        view.sum().backward()
        view.mul_(3)
        assert y.tolist() == [6.0, 4.0]
        with pytest.raises(RuntimeError, match="walked before|a second time"):
            y.sum().backward()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("returned", [lambda x: x, lambda x: x.view(-1)[:2], lambda x: x.double()])
@pytest.mark.parametrize("how", ["checkpoint", "Function"])
def test_a_leaf_that_a_part_returns_stays_unwritten(torch, how, returned, depth):
    for lib in (tm, torch):

        class Returned(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return returned(x)

            @staticmethod
            def backward(ctx, g):
                return g

        def part(x, lib=lib, function=Returned):
            if how == "Function":
                return function.apply(x)
            home = importlib.import_module(f"{lib.__name__}.utils.checkpoint")
            return home.checkpoint(returned, x, use_reentrant=False)

        x = lib.tensor([1.0, 2.0], dtype=lib.float64, requires_grad=True)
        y = x
        for _ in range(depth):
            y = part(y)
        for write in (lambda y: y.mul_(2), lambda y: y[1:].zero_()):
            with pytest.raises(RuntimeError, match="a (view of a )?leaf|custom Function"):
                write(y)
        assert x.tolist() == [1.0, 2.0]
        with lib.no_grad():
            y.mul_(2)
        assert x.tolist() == y.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("name", ["copy_", "add_", "floor_divide_", "remainder_", "fmod_"])
@pytest.mark.parametrize("graph", [False, True])
def test_dims_of_length_1_before_the_others_are_not_left_out(torch, name, graph):
    for lib in (tm, torch):
        x = lib.ones(2, 3, requires_grad=graph) * 4
        with pytest.raises((ValueError, RuntimeError), match=r"shape \(?\[?1, ?2, ?3"):
            getattr(x, name)(lib.full((1, 2, 3), 3.0))
        getattr(x, name)(lib.full((1, 3), 3.0))


def test_a_write_of_no_element_makes_a_result_too(torch):
    for lib in (tm, torch):
        w = lib.ones(1, 2, requires_grad=True)
        x = lib.zeros(1, 2)
        x[1:] += w
        (x.sum() + 0).backward()
        assert x.tolist() == [[0.0, 0.0]] and w.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("x", "source"), [((), (2,)), ((), (1,)), ((3,), ())])
def test_index_add_takes_a_source_without_dims_for_a_tensor_without_alone(torch, x, source):
    for lib in (tm, torch):
        for target in (lib.zeros(x), lib.zeros(x, requires_grad=True) * 1):
            with pytest.raises((ValueError, RuntimeError), match="source"):
                target.index_add_(0, lib.tensor([0] * max(1, sum(source))), lib.ones(source))
        assert lib.zeros(()).index_add_(0, lib.tensor([0]), lib.ones(())).item() == 1


def test_one_element_that_expand_put_into_several_places_is_not_written():
    x = tm.ones(2, 3, requires_grad=True)
    rows = (x * 2).expand(2, 2, 3)
    with pytest.raises(RuntimeError, match="mul_: the memory of x may be read only.*clone"):
        rows[1:].mul_(0.5)
    for name, *arguments in (("zero_",), ("fill_", 2), ("mul_", 2), ("relu_",)):
        with tm.no_grad(), pytest.raises(RuntimeError, match="_: several elements of x are one place.*clone"):
            getattr(rows, name)(*arguments)


@pytest.mark.parametrize("name", ["index_add_", "index_copy_"])
@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 3, 1), (1, 2, 3)])
def test_slices_of_another_shape_are_refused_though_they_have_as_many_elements(torch, name, shape):
    for lib in (tm, torch):
        with pytest.raises((ValueError, RuntimeError, IndexError), match="source|Source"):
            getattr(lib.zeros(3, 3), name)(0, lib.tensor([0, 1]), lib.ones(shape))


def test_the_memory_is_written_where_others_look_at_it():
    x = tm.ones(3, requires_grad=True)
    y = x * 2
    seen, numbers = y.detach(), y.detach().numpy()
    y.mul_(x + 1)
    y[0] = 7.0
    assert seen.tolist() == numbers.tolist() == y.tolist() == [7.0, 4.0, 4.0] and not seen.requires_grad
    assert (seen * 2).requires_grad is False
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 6.0, 6.0]


def test_the_log_ends_with_the_memory():
    gc.collect()
    x, w = leaves(tm)
    before = set(writes.rewritten)
    y = x * w
    y[0] += 1
    assert (
        len(set(writes.rewritten) - before) == 1 and ("memory", *(set(writes.rewritten) - before)) in switches.unusual
    )
    del y
    assert set(writes.rewritten) <= before


def test_a_graph_that_was_never_walked_is_forgotten_in_the_end():
    gc.collect()
    x, w = leaves(tm)
    before = set(writes.rewritten)  # PyTorch's graphs hold them: a hook with which random programs compare both
    for _ in range(REMEMBERED + 10):
        y = (x * w).exp()
        y[0].mul_(2)
    gc.collect()
    assert len(set(writes.rewritten) - before) <= REMEMBERED + 1
    del y
    for memory in list(writes.rewritten.values()):
        memory.writes.clear()
    gc.collect()
    assert set(writes.rewritten) <= before and switches.unusual <= {("memory", key) for key in before}


def test_the_error_names_the_line_of_the_write_and_no_other():
    x = tm.tensor(X, requires_grad=True)
    y = x * 1
    z = (y * y).sum()
    look = y.detach()
    line = inspect.currentframe().f_lineno + 1
    look.mul_(2)
    look = None
    with pytest.raises(RuntimeError, match=rf"overwritten in place at \S*test_inplace.py:{line};"):
        z.backward()


@pytest.mark.parametrize("shape", [(), (3,), (300, 500), (0, 3)])
def test_zeroing_leaves_no_bit_and_touches_nothing_else(shape):
    for dtype in ("float32", "float64", "int64", "bool"):
        memory = np.ones((*shape, 2), dtype)
        for array in (np.ones(shape, dtype), memory[..., 1], np.ones(shape, dtype).T):
            assert tm.from_numpy(array).zero_().array.tobytes() == bytes(array.nbytes)
        assert (memory[..., 0] == 1).all()
