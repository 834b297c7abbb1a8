"""A trace says what happened: its JSON is held against NumPy alone, and against the engine in a fresh process."""

import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med as torch
import tinygrad_med.nn.functional as F
from tests.stand_in import cupy
from tinygrad_med import backend, explain, models, nn
from tinygrad_med.explain import why
from tinygrad_med.explain.values import values_of

ROOT = Path(__file__).resolve().parents[2]


def small(seed=1):
    """A small network with a fork, broadcasts and a dead unit, watched, and its loss."""
    rng = np.random.default_rng(seed)
    w = torch.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    b = torch.tensor(rng.standard_normal(4) + np.array([2, -9, 2, 2]), requires_grad=True)
    v = torch.tensor(rng.standard_normal((4, 2)), requires_grad=True)
    x = torch.tensor(rng.standard_normal((5, 3)))
    with explain.watch() as trace:
        h = (x @ w + b).relu()
        out = h @ v
        loss = (out * out).sum() * 0.5 + (h.sigmoid() / 3).mean()
        loss.backward()
    return trace, {"w": w, "b": b, "v": v}


def read(values):
    """The array that the JSON's `values` hold."""
    numbers = [float(n) if isinstance(n, str) else n for n in values["numbers"]]
    return np.array(numbers, values["dtype"]).reshape(values["shape"])


def unbroadcast(d, shape, summed):
    """Summed over dims, as the JSON says."""
    return d.sum(tuple(summed)).reshape(shape) if summed else d


RULES = {  # written anew, from the calculus and not from the engine
    "matmul": (lambda g, x, y, z: g @ y.T, lambda g, x, y, z: x.T @ g),
    "add": (lambda g, x, y, z: g, lambda g, x, y, z: g),
    "mul": (lambda g, x, y, z: g * y, lambda g, x, y, z: g * x),
    "div": (lambda g, x, y, z: g / y,),
    "relu": (lambda g, x, z: np.where(x > 0, g, 0),),
    "sigmoid": (lambda g, x, z: g * np.exp(-x) / (1 + np.exp(-x)) ** 2,),
    "sum": (lambda g, x, z: np.full(x.shape, g),),
    "mean": (lambda g, x, z: np.full(x.shape, g / x.size),),
}


def test_numpy_alone_recomputes_every_contribution_and_sum():
    document = json.loads(small()[0].to_json())
    tensors, (walk,) = document["tensors"], document["walks"]
    checked, sums = 0, {}
    for step in walk["steps"]:
        g = read(step["upstream"])
        if step["parts"]:
            np.testing.assert_allclose(g, sum(sums.pop(step["tensor"])), rtol=1e-14)
        assert step["seed"] == (not step["parts"])
        if step["node"] is None:
            continue
        node = document["nodes"][step["node"]]
        assert node["output"] == step["tensor"]
        operands = [
            o["value"] if o["tensor"] is None else read(tensors[o["tensor"]]["values"]) for o in node["operands"]
        ]
        for c in step["contributions"]:
            if c is None:
                continue
            d = RULES[node["primitive"]][c["operand"]](g, *operands, read(tensors[node["output"]]["values"]))
            got = read(c["values"])
            np.testing.assert_allclose(got, unbroadcast(d, got.shape, c["summed"]), rtol=1e-13, atol=1e-16)
            jacobian = node["operands"][c["operand"]]["jacobian"]
            matrix = np.zeros(jacobian["shape"])
            np.add.at(matrix, tuple(np.array(jacobian["at"]).T), jacobian["numbers"])
            np.testing.assert_allclose(got.reshape(-1), g.reshape(-1) @ matrix, rtol=1e-12, atol=1e-15)
            assert c["earlier"] == len(sums.get(c["tensor"], []))
            sums.setdefault(c["tensor"], []).append(got)
            checked += 1
    assert checked == 15 and not sums
    assert sum(len(s["parts"]) > 1 for s in walk["steps"]) == 2  # h is used twice, out by x · x


def test_the_json_equals_backward_in_a_fresh_process():
    document = json.loads(small()[0].to_json())
    script = f"""
        import json, sys
        sys.path.insert(0, {str(ROOT / "tests" / "explain")!r})
        import test_trace
        from tinygrad_med import explain
        class unwatched:
            def __enter__(self): pass
            def __exit__(self, *_): pass
        explain.watch = unwatched
        print(json.dumps({{name: t.grad.tolist() for name, t in test_trace.small()[1].items()}}))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    names = {t["id"]: t["name"] for t in document["tensors"]}
    leaves = {
        names[s["tensor"]]: read(s["upstream"]).tolist() for s in document["walks"][0]["steps"] if s["node"] is None
    }
    assert leaves == json.loads(run.stdout)


def test_names_lines_kinds_and_what_is_kept():
    trace, _ = small()
    document = trace.to_dict()
    assert document["version"] == 1 and document["notes"] == []
    names = {t["name"]: t for t in document["tensors"]}
    assert {"w", "b", "v", "x", "h", "out", "loss"} <= set(names)
    assert [names[n]["kind"] for n in ("w", "x", "h")] == ["leaf", "constant", "result"]
    first = document["nodes"][0]
    assert first["line"]["file"].endswith("test_trace.py") and first["line"]["text"] == "h = (x @ w + b).relu()"
    assert (first["formula"].startswith("z = x · y"), first["operands"][1]["rule"]) == (True, "xᵀ · g")
    assert document["code"]["lines"][0].strip() == "with explain.watch() as trace:"
    assert document["code"]["lines"][-1].strip() == "loss.backward()" and len(document["code"]["lines"]) == 5
    assert document["code"]["first"] + 1 == first["line"]["number"]
    for node in document["nodes"]:
        for operand in node["operands"]:
            assert operand["tensor"] is None or node["id"] in document["tensors"][operand["tensor"]]["dependents"]
    held = sum(node["saved_bytes"] for node in document["nodes"])
    assert held == sum(step["freed_bytes"] for step in document["walks"][0]["steps"]) > 0


def test_a_module_tells_its_path_and_parameters_their_names():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)))
    x = torch.randn(2, 3)
    with explain.watch() as trace:
        loss = F.cross_entropy(model(x), torch.tensor([0, 1]))
        loss.backward()
    document = trace.to_dict()
    paths = [None if n["module"] is None else document["modules"][n["module"]]["path"] for n in document["nodes"]]
    assert paths[:4] == ["0", "1", "2.0", "2.1"] and set(paths[4:]) == {None}
    assert document["modules"][0] == {"id": 0, "path": "", "name": "model", "kind": "Sequential", "parent": None}
    assert document["modules"][document["nodes"][2]["module"]]["parent"] == 3
    assert document["nodes"][3]["function"] == "dropout" and document["nodes"][4]["function"] == "cross_entropy"
    parameters = {t["name"]: t["kind"] for t in document["tensors"] if t["kind"] == "parameter"}
    assert parameters == dict.fromkeys(["0.weight", "0.bias", "2.0.weight", "2.0.bias"], "parameter")


def test_several_models_are_told_apart():
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(3, 2), nn.Linear(2, 3)
    with explain.watch() as trace:
        decoder(encoder(torch.ones(1, 3))).sum().backward()
    names = {t["name"] for t in trace.to_dict()["tensors"] if t["kind"] == "parameter"}
    assert names == {"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"}


def test_a_walk_knows_after_which_operation_it_began():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        loss = (w * w).sum()
        w.exp().log()  # after the loss, before the walk, and not in it
        loss.backward()
        (w + 1).sum().backward()
    assert [walk["after"] for walk in json.loads(trace.to_json())["walks"]] == [4, 6]


def test_a_tensor_that_is_used_often_makes_no_long_trace():
    def length(uses):
        w = torch.tensor(0.5, requires_grad=True)
        with explain.watch() as trace:
            h = w
            for _ in range(uses):
                h = h * w
            h.backward()
        step = trace.to_dict()["walks"][0]["steps"][-1]
        assert len(step["parts"]) == uses + 1
        return len(trace.to_json())

    assert length(400) < 2.2 * length(200)


def test_a_note_says_that_time_for_answers_ran_out():
    w = torch.tensor([-1.0, -2.0, 3.0], requires_grad=True)
    with explain.watch() as trace:
        w.relu().sum().backward()
    answers, notes = why.of_leaves(trace, lambda: trace.tape.run({0}), seconds=0)
    assert answers == []
    assert notes == [
        "Why gradients are zero was asked for 0 s; 3 of 3 questions are left: ask explain.why_zero(tensor, trace)."
    ]
    answers, notes = why.of_leaves(trace, lambda: trace.tape.run({0}))
    assert [answer.element for answer in answers] == [None, 0, 1] and notes == []


def test_a_trace_is_run_again_once_for_all_its_answers(monkeypatch):
    w = torch.tensor([-1.0, 2.0], requires_grad=True)
    v = torch.tensor([0.0, 1.0], requires_grad=True)
    with explain.watch() as trace:
        (w.relu() * v.relu()).sum().backward()
    runs, run = [], trace.tape.run
    monkeypatch.setattr(trace.tape, "run", lambda *args, **kwargs: (runs.append(1), run(*args, **kwargs))[1])
    first = trace.to_json()
    assert json.loads(first)["why"] and trace.to_json() == first and len(runs) == 1


def test_create_graph_shows_the_graph_of_the_gradient():
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    with explain.watch() as trace:
        y = (w**3).sum()
        (g,) = torch.autograd.grad(y, w, create_graph=True)
        g.sum().backward()
    document = trace.to_dict()
    assert [walk["kind"] for walk in document["walks"]] == ["grad", "backward"]
    assert [walk["create_graph"] for walk in document["walks"]] == [True, False]
    of_rules = [n for n in document["nodes"] if n["walk"] == 0]
    assert of_rules and all(0 <= n["step"] < len(document["walks"][0]["steps"]) for n in of_rules)
    assert document["nodes"][of_rules[-1]["id"] + 1]["walk"] is None
    last = document["walks"][1]["steps"][-1]
    assert document["tensors"][last["tensor"]]["name"] == "w" and last["upstream"]["numbers"] == [12.0, 18.0]
    leaf = document["walks"][0]["steps"][-1]
    assert document["tensors"][leaf["gradient"]]["name"] == "g" and leaf["upstream"]["numbers"] == [12.0, 27.0]


def test_several_walks_retained_graphs_hooks_and_earlier_gradients():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        h = w * 3
        h.register_hook(lambda g: g * 10)
        h.retain_grad()
        loss = h.sum()
        loss.backward(retain_graph=True)
        loss.backward()
    first, second = trace.to_dict()["walks"]
    assert sum(s["freed_bytes"] for s in first["steps"]) == 0
    mul = first["steps"][1]
    assert (mul["hooks"], mul["before_hooks"]["numbers"], mul["upstream"]["numbers"]) == (2, [1.0, 1.0], [10.0, 10.0])
    assert first["steps"][-1]["earlier_grad"] is None
    assert second["steps"][-1]["earlier_grad"]["numbers"] == [30.0, 30.0]


def test_a_seed_of_many_elements_and_several_outputs():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        a = w * w
        b = a * 3
        g = torch.autograd.grad([a, b], w, [torch.tensor([1.0, 10.0]), torch.tensor([100.0, 1000.0])])
    steps = trace.to_dict()["walks"][0]["steps"]
    assert [s["seed"] for s in steps] == [True, True, False]
    assert steps[1]["upstream"]["numbers"] == [301.0, 3010.0] and g[0].tolist() == [602.0, 12040.0]


def test_a_leaf_written_in_place_is_another_tensor_afterwards():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        (w * w).sum().backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
        (w * w).sum().backward()
    document = trace.to_dict()
    assert next(t["values"]["numbers"] for t in document["tensors"] if t["name"] == "w") == [1.0, 2.0]
    assert document["walks"][1]["steps"][-1]["upstream"]["numbers"] == pytest.approx([1.6, 3.2])
    assert trace.nudge(w, 0).before == pytest.approx(0.8**2 + 1.6**2)


def test_what_records_nothing_is_shown_with_the_reason():
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    with explain.watch() as trace:
        with torch.no_grad():
            w * 2
        d = w.detach() * 2
        (w > 0).sum()
        (w * d).sum().backward()
    nodes, tensors = trace.to_dict()["nodes"], trace.to_dict()["tensors"]
    assert [n["unrecorded"] for n in nodes][:3] == ["no_grad", "constant", "not differentiable"]
    assert tensors[nodes[1]["operands"][0]["tensor"]]["detached_from"] == nodes[0]["operands"][0]["tensor"]


def test_large_arrays_are_summaries():
    a = np.linspace(-1, 3, 10000, dtype="float32").reshape(100, 100)
    a[0] = 0
    a[1, :50] = np.nan
    values = values_of(a)
    finite = a[np.isfinite(a)].astype("float64")
    assert values.numbers is None and values.picture.rows <= 32 and len(values.picture.numbers) == 28 * 28
    summary = values.summary
    assert (summary.zeros, summary.nonfinite) == pytest.approx((0.01, 0.005))
    assert (summary.mean, summary.std, summary.norm) == pytest.approx(
        (finite.mean(), finite.std(), np.linalg.norm(finite))
    )
    assert (summary.min, summary.max) == (finite.min(), finite.max())
    assert values.picture.numbers[-1] == pytest.approx(a[97:, 97:].mean(), rel=0.01)


def test_a_picture_of_an_image_is_one():
    assert values_of(np.zeros((2, 3, 56, 56)), image=True).picture.image
    assert not values_of(np.zeros((2, 64, 56, 56)), image=True).picture.image
    assert not values_of(np.zeros((2, 3, 56, 56))).picture.image
    assert values_of(np.zeros((8, 4, 3, 3))).picture.rows == 8
    assert values_of(np.zeros(1000)).picture.rows == 1


def test_numbers_come_back_as_they_were():
    a = np.array([0.1, 1 / 3, np.nan, -np.inf, 1e-45], "float32")
    with explain.watch() as trace:
        torch.tensor(a) * 1
    values = json.loads(trace.to_json())["tensors"][0]["values"]
    np.testing.assert_array_equal(read(values), a)
    assert values["summary"]["nonfinite"] == pytest.approx(0.4) and values["numbers"][2:4] == ["NaN", "-Infinity"]


def test_nudge_tells_what_the_gradient_foretold():
    trace, leaves = small()
    for name, index in (("w", (0, 1)), ("b", (1,)), ("v", (-1, 0))):
        moved = trace.nudge(leaves[name], index, by=1e-6)
        assert moved.gradient == leaves[name].grad.tolist()[index[0]] if name == "b" else True
        assert moved.change == pytest.approx(moved.foretold, rel=1e-3, abs=1e-12)
        assert moved.foretold == pytest.approx(float(leaves[name].grad.numpy()[index]) * 1e-6, rel=1e-12)
    assert "foretold" in str(moved)


def test_nudge_computes_what_depends_on_the_operands_anew():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    x = torch.randn(2, 1, 4, 4)

    def loss_of():
        return F.cross_entropy(model(x), torch.tensor([0, 1]))

    with explain.watch() as trace:
        loss = loss_of()
        loss.backward()
    weight = model[0].weight
    found = trace.nudge(weight, (0, 0, 1, 1), by=0.5)
    with torch.no_grad():
        weight[0, 0, 1, 1] = weight[0, 0, 1, 1] + 0.5
    assert found.after == pytest.approx(loss_of().item(), rel=1e-5)
    assert found.before == pytest.approx(loss.item(), rel=1e-5)


# Bad input ----------------------------------------------------------------------------------------------------------


def test_nothing_recorded():
    with explain.watch() as trace:
        pass
    for call in (trace.to_json, trace.print, trace.to_dot, lambda: trace.save("x.html")):
        with pytest.raises(ValueError, match="nothing was recorded; run the operations"):
            call()


def test_a_loss_without_a_graph_and_no_walk():
    w = torch.tensor([1.0])
    with explain.watch() as trace, pytest.raises(RuntimeError, match="requires no gradient"):
        (w * 2).backward()
    assert "No backward() or grad() ran" in trace.to_dict()["notes"][0]
    with pytest.raises(ValueError, match="no walk back was recorded; call loss.backward"):
        explain.why_zero(w, trace)
    with pytest.raises(ValueError, match="nudge: no walk back"):
        trace.nudge(w, 0)


def test_a_freed_graph():
    w = torch.tensor([1.0], requires_grad=True)
    with explain.watch() as trace:
        y = (w * w).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="walked before"):
            y.backward()
    document = trace.to_dict()
    assert "walked before" in document["walks"][1]["error"] and document["walks"][1]["steps"] == []
    assert any(note.startswith("Walk 1 ended with an error") for note in document["notes"])


def test_nan_is_shown_with_where_it_began():
    w = torch.tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(all="ignore"), explain.watch() as trace:
        h = w.log() * 0
        h.sum().backward()
    (note,) = trace.to_dict()["notes"]
    assert note.startswith("The first NaN or infinity is the result of log (50% of its elements) at ")
    assert "h = w.log() * 0" in note and "x from 0 to 1" in note
    with np.errstate(all="ignore"), explain.watch() as trace:
        w.sqrt().sum().backward()
    (note,) = trace.to_dict()["notes"]
    assert "on the way back is what sqrt contributes to its operand x" in note and "g / 2z" in note


def test_nested_and_repeated_watches():
    with explain.watch(), pytest.raises(RuntimeError, match="watched already"), explain.watch():
        pass
    w = explain.watch()
    with w as trace:
        torch.ones(1) * 2
    with pytest.raises(RuntimeError, match="used before"), w:
        pass
    assert len(trace.nodes) == 1


def test_a_thread_that_did_not_record():
    w = torch.tensor([1.0], requires_grad=True)

    def work():
        (w * 2).sum().backward()

    with explain.watch() as trace:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    with pytest.raises(ValueError, match="in the thread that entered it"):
        trace.to_json()


def test_an_unknown_tensor_and_a_bad_index():
    trace, leaves = small()
    with pytest.raises(ValueError, match=r"no recorded operation used or made this tensor of shape \(2,\)"):
        explain.why_zero(torch.ones(2), trace)
    for index in ((0,), (0, 1.5), (9, 0)):
        with pytest.raises(IndexError, match="why_zero"):
            explain.why_zero(leaves["w"], trace, index)
        with pytest.raises(IndexError, match="nudge"):
            trace.nudge(leaves["w"], index)
    with pytest.raises(ValueError, match="there is no walk 3"):
        explain.why_zero(leaves["w"], trace, walk=3)


def test_a_graph_from_before_the_watch():
    w = torch.tensor([1.0, 0.0], requires_grad=True)
    h = w * w
    with explain.watch() as trace:
        h.sum().backward()
    document = trace.to_dict()
    assert any("before watch() began" in note for note in document["notes"])
    assert document["walks"][0]["steps"][-1]["upstream"]["numbers"] == [2.0, 0.0]
    assert [c.kind for c in explain.why_zero(w, trace).causes] == ["before"]


def test_an_error_in_the_block_leaves_the_trace():
    w = torch.tensor([1.0], requires_grad=True)
    watch = explain.watch()
    with pytest.raises(ZeroDivisionError), watch as trace:
        raise ZeroDivisionError((w * 2).sum().backward())
    assert len(trace.nodes) == 2
    assert (w * 2).origin is not None and len(trace.nodes) == 2


def test_html_in_names_stays_what_it_is_in_the_json_and_dot():
    w = torch.tensor([1.0], requires_grad=True)
    named = {'</script><b>"': w}
    with explain.watch(title="<i>&") as trace:
        (named['</script><b>"'] * 2).sum().backward()
    assert trace.to_dict()["title"] == "<i>&"
    dot = trace.to_dot()
    assert dot.count("{") == dot.count("}") and '"mul\\nt1"' in dot


def test_print(capsys):
    small()[0].print()
    out = capsys.readouterr().out
    assert "∂x: g · yᵀ" in out and "(leaf)" in out and "summed over dims 0" in out
    assert max(map(len, out.splitlines())) < 250


def test_the_whole_trace_of_a_long_chain():
    w = torch.tensor(1.0, requires_grad=True)
    with explain.watch() as trace:
        h = w
        for _ in range(500):
            h = (h * 0.99 + 0.01).tanh()
        h.backward()
    document = json.loads(trace.to_json())
    assert len(document["nodes"]) == 1500 and len(document["walks"][0]["steps"]) == 1501


def test_a_result_written_in_place_is_not_run_again():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        h = w + 1
        with torch.no_grad():
            h *= 2
        (h + 0).sum().backward()
    assert "written to in place at" in trace.to_dict()["notes"][-1]
    for ask in (lambda: trace.nudge(w, 0), lambda: explain.why_zero(w, trace)):
        with pytest.raises(RuntimeError, match="written to in place at .*test_trace.py"):
            ask()


@pytest.mark.parametrize(
    ("operation", "shapes", "dims"),
    [
        (torch.add, [(2, 3), (3,)], [[], [0]]),
        (torch.mul, [(2, 1, 3), (4, 1)], [[1], [0, 2]]),
        (torch.atan2, [(2, 3), (1, 3)], [[], [0]]),
        (torch.matmul, [(1, 2, 3), (6, 3, 4)], [[0], []]),
        (torch.matmul, [(1, 1), (1, 4)], [[], []]),
    ],
)
def test_the_dims_of_a_broadcast(operation, shapes, dims):
    operands = [torch.tensor(np.ones(shape), requires_grad=True) for shape in shapes]
    with explain.watch() as trace:
        operation(*operands).sum().backward()
    step = trace.to_dict()["walks"][0]["steps"][1]
    assert [c["summed"] for c in step["contributions"]] == dims


def test_a_resnet_stays_small():
    torch.manual_seed(0)
    model = models.resnet18(num_classes=4)
    x, y = torch.randn(2, 3, 64, 64), torch.tensor([0, 1])
    with explain.watch() as trace:
        F.cross_entropy(model(x), y).backward()
    assert trace.tape.nbytes() < 60e6  # the parameters have 45 MB
    text = trace.to_json()
    assert len(text) < 2e6
    document = json.loads(text)
    assert document["notes"] == []
    top = {document["modules"][n["module"]]["path"].split(".")[0] for n in document["nodes"] if n["module"] is not None}
    assert top == {"conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "", "fc"}
    steps = {document["tensors"][s["tensor"]]["name"]: s["upstream"] for s in document["walks"][0]["steps"]}
    for name, p in model.named_parameters():
        assert steps[name]["summary"]["norm"] == pytest.approx(float(np.linalg.norm(p.grad.numpy())), rel=1e-5)


# What the user's own code does on the way back ----------------------------------------------------------------------


class Cube(torch.autograd.Function):
    """x³, by hand."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


def test_a_function_of_the_users():
    w = torch.tensor([1.0, 0.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        Cube.apply(w * 1).sum().backward()
    document = json.loads(trace.to_json())
    (node,) = [n for n in document["nodes"] if n["primitive"] == "function"]
    step = next(s for s in document["walks"][0]["steps"] if s["node"] == node["id"])
    assert step["contributions"][0]["values"]["numbers"] == [3.0, 0.0, 12.0]
    assert all(n["walk"] == 0 for n in document["nodes"][node["id"] + 2 :])  # what its backward computed
    answer = explain.why_zero(w, trace)
    assert [(c.kind, c.node) for c in answer.causes] == [("function", node["id"])]
    assert trace.nudge(w, 2, by=1e-3).change == pytest.approx(0.012, rel=1e-3)


def test_a_checkpoint():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    with explain.watch() as trace:
        (torch.utils.checkpoint.checkpoint(model, x.requires_grad_()) ** 2).sum().backward()
    document = json.loads(trace.to_json())
    assert [(walk["kind"], walk["within"]) for walk in document["walks"]] == [("backward", None), ("grad", 0)]
    assert {why["walk"] for why in document["why"]} == {0}
    names = {t["id"]: t["name"] for t in document["tensors"]}
    leaves = {names[s["tensor"]]: s["upstream"] for s in document["walks"][0]["steps"] if s["node"] is None}
    np.testing.assert_array_equal(read(leaves["2.weight"]), model[2].weight.grad.numpy())


def test_hooks_of_modules():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[1].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 10,))
    x = torch.randn(5, 3)
    with explain.watch() as trace:
        model(x).sum().backward()
    found = trace.nudge(model[0].bias, 0, by=1e-4)
    assert found.gradient == pytest.approx(model[0].bias.grad.numpy()[0])
    assert found.foretold == pytest.approx(10 * found.change, rel=1e-3)  # the hook exaggerates
    leaves = [s for s in trace.to_dict()["walks"][0]["steps"] if s["node"] is None]
    assert len(leaves) == 4


def asked_on(device):
    """What a trace of tensors on a device says."""
    w = torch.tensor([1.0, -2.0, 3.0]).to(device).requires_grad_()
    x = torch.tensor([[2.0, 1.0, 0.5], [1.0, 0.5, -1.0]]).to(device)
    v = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 1.0]]).to(device)
    with explain.watch() as trace:
        h = (w * x).relu()
        loss = (h @ v).sum() + torch.softmax(h * 1000, 1)[0, 0] + F.dropout(h, 1.0).sum()
        loss.backward()
    document = trace.to_dict()
    whys = [(why["element"], [(c["kind"], c["share"]) for c in why["causes"]]) for why in document["why"]]
    moved = trace.nudge(w, 0)
    return document["notes"], whys, moved.foretold, moved.change, [s["upstream"] for s in document["walks"][0]["steps"]]


def test_on_what_stands_in_for_a_gpu_it_says_the_same(monkeypatch):
    expected = asked_on("cpu")
    monkeypatch.setattr(backend, "_cupy", cupy)
    monkeypatch.setattr(backend, "cuda_in_use", True)
    monkeypatch.setattr(backend, "cuda_problem", lambda: None)
    assert expected[0] == [] and len(expected[1]) == 2
    assert asked_on("cuda") == expected
