"""Do the samples that PyTorch tests its operations with give the same here?

PyTorch ships, for each of its operations, sample calls and calls that must fail (`op_db`). For every name that we have
too, each sample is run in float64 in both libraries: the value, the gradient and the gradient of the gradient, for one
random upstream gradient; then the value once more with every argument by keyword, and as a method. The table counts

- agree: values within 1e-9 of the largest element or 1, gradients within 1e-8, theirs within 1e-7,
- refuse: an error here,
- wrong: another number, shape, dtype or structure, or a gradient that is missing,

and of the calls that must fail those that fail here too, with a text of ours (`operation: what …`). The last column
counts those that we answer on purpose, for the reasons in `ERRORS` below.

    python benchmarks/torch_samples.py [--show refuse|wrong|keyword|method|errors] [--only NAME …]
"""

from __future__ import annotations

import argparse
import inspect
import operator
import random
import sys
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.overrides import get_testing_overrides  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.opinfo.core import OpInfo, SampleInput  # noqa: E402

import tinygrad_med as tg  # noqa: E402
from tinygrad_med._files import writing  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "torch_samples.md"
TOLERANCE = 1e-9
AGREE, REFUSE, WRONG, LEFT_OUT, ANSWERED = "agree", "refuse", "wrong", "left out", "answered"

# What is left out, and why ------------------------------------------------------------------------------------------

OPERATIONS = {
    "bernoulli empty empty_like new_empty new_empty_strided empty_permuted empty_strided normal rand_like randn "
    "randn_like randint randint_like uniform cauchy exponential geometric log_normal multinomial "
    "nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d nn.functional.alpha_dropout "
    "nn.functional.feature_alpha_dropout nn.functional.rrelu": "the numbers are random, or memory as it happens to be",
    "zero_": "PyTorch documents it as a method alone",
}
"""Names of operations that no sample of theirs can judge."""

KEYWORDS = {
    "tensor_split hsplit vsplit dsplit cholesky_solve linalg.tensorinv linalg.tensorsolve "
    "nn.functional.one_hot": "PyTorch's documentation has another name of the argument, which is ours too",
}
"""Operations that are not asked for their arguments by name, and why."""


def _twice(axes: int, sample: SampleInput) -> bool:
    """Whether an index of a `max_unpool` occurs twice in a channel."""
    channels = sample.args[0].flatten(-axes).reshape(-1, sample.args[0].shape[-axes:].numel()).tolist()
    return any(len(set(channel)) < len(channel) for channel in channels)


SAMPLES: list[tuple[str, Callable[[SampleInput], bool], str]] = [
    ("nn.functional.scaled_dot_product_attention", lambda s: s.kwargs.get("dropout_p"), "the numbers are random"),
    *(
        (
            f"nn.functional.max_unpool{axes}d",
            partial(_twice, axes),
            "of an index that occurs twice PyTorch promises nothing",
        )
        for axes in (1, 2, 3)
    ),
    (
        "nn.functional.triplet_margin_with_distance_loss",
        lambda s: s.kwargs.get("distance_function"),
        "an argument is a function of PyTorch's",
    ),
    ("linalg.norm", lambda s: not s.input.any(), "a norm has its kink at 0; PyTorch's second derivative there is NaN"),
]
"""Samples that are left out: the operation's name, which of its samples, and why."""

PROMOTED = "operands of two dtypes are promoted, here as in every other operation"
ERRORS: list[tuple[str, str, str]] = [
    (f"nn.functional.conv{axes}d", "should be the same", PROMOTED) for axes in (1, 2, 3)
]
"""Calls that PyTorch refuses and we mean to answer: the operation's name, PyTorch's text, and why."""


FOREIGN = ("masked.", "_", "torch.", "special.", "fft.", "signal.", "sparse.", "jiterator")
"""How names begin that are PyTorch's own, or of namespaces that we don't have."""


def reason_for_operation(name: str) -> str | None:
    """Why an operation is left out, if it is."""
    return next((reason for names, reason in OPERATIONS.items() if name in names.split()), None)


# The two libraries' functions ---------------------------------------------------------------------------------------


def look_up(library: Any, name: str) -> Any:
    """`torch.nn.functional.relu` and the like; `None` where there is none."""
    try:
        return operator.attrgetter(name)(library)
    except AttributeError:
        return None


def is_plain(op: OpInfo) -> bool:
    """Whether the samples are calls of PyTorch's function itself, not of a small function around it."""
    return op.op is look_up(torch, op.name)


def ours(op: OpInfo) -> Callable[..., Any] | None:
    """Our function of the same samples; `None` where we have no such name."""
    if op.name.startswith(FOREIGN) and not op.name.startswith("__"):
        return None
    if look_up(torch, op.name) is not None:
        mine = look_up(tg, op.name)
    else:
        mine = look_up(tg.Tensor, op.name)
    if mine is None or isinstance(mine, type | np.dtype):
        mine = look_up(tg.Tensor, op.name)
    if mine is None:
        return None
    if is_plain(op) or op.op is getattr(torch.Tensor, op.name, None):
        return mine
    return _of_small_function(op)


def _of_small_function(op: OpInfo) -> Callable[..., Any]:
    """A function of PyTorch's test suite around an operation, with our library in the place of PyTorch."""
    if not isinstance(op.op, types.FunctionType):
        return lambda x, *args, **kwargs: getattr(x, op.name)(*args, **kwargs)
    return on_our_library(op.op)


def on_our_library(function: Any) -> Any:
    """A function of PyTorch's test suite with `torch` meaning our library, in those that it calls too."""
    if not (isinstance(function, types.FunctionType) and function.__module__.startswith("torch.testing")):
        return function
    scope = {**function.__globals__, "torch": tg}
    for name in function.__code__.co_names:
        if name in scope:
            scope[name] = on_our_library(scope[name])
    mine = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    mine.__kwdefaults__ = function.__kwdefaults__
    return mine


def converted(value: Any, made: dict[int, Any] | None = None) -> Any:
    """An argument for our library: tensors (one for the same one), dtypes, devices; in lists and dicts too."""
    made = {} if made is None else made
    if isinstance(value, torch.Tensor):
        if id(value) not in made:
            if value.is_complex() or value.layout is not torch.strided:
                raise NotImplementedError("complex or sparse numbers")
            array = value.detach().numpy(force=True).copy()
            made[id(value)] = tg.tensor(array, requires_grad=value.requires_grad)
        return made[id(value)]
    if isinstance(value, torch.dtype):
        return look_up(tg, str(value).removeprefix("torch.")) or str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.memory_format):
        return look_up(tg, str(value).removeprefix("torch."))
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(converted(v, made) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(converted(v, made) for v in value)
    if isinstance(value, dict):
        return {name: converted(v, made) for name, v in value.items()}
    return value


def tensors_in(value: Any) -> Iterator[Any]:
    """The tensors of either library in nested lists, tuples and dicts, each once."""
    seen: set[int] = set()

    def walk(v: Any) -> Iterator[Any]:
        if isinstance(v, torch.Tensor | tg.Tensor):
            if id(v) not in seen:
                seen.add(id(v))
                yield v
        elif isinstance(v, list | tuple):
            for part in v:
                yield from walk(part)
        elif isinstance(v, dict):
            yield from walk(list(v.values()))

    yield from walk(value)


# Comparing ----------------------------------------------------------------------------------------------------------


class DifferenceError(Exception):
    """The two libraries' answers differ."""


def compare(mine: Any, theirs: Any, what: str, tolerance: float = TOLERANCE) -> None:
    """Raise a `DifferenceError` unless the answers agree in structure, shape, dtype and numbers."""
    if isinstance(theirs, torch.Tensor):
        if not isinstance(mine, tg.Tensor):
            raise DifferenceError(f"{what}: {type(mine).__name__} instead of a tensor")
        if tuple(mine.shape) != tuple(theirs.shape):
            raise DifferenceError(f"{what}: shape {tuple(mine.shape)} instead of {tuple(theirs.shape)}")
        if str(mine.dtype) != str(theirs.dtype).removeprefix("torch."):
            raise DifferenceError(f"{what}: dtype {mine.dtype} instead of {theirs.dtype}")
        a, b = mine.detach().numpy(), theirs.numpy(force=True)
        finite = b[np.isfinite(b)]
        scale = float(np.abs(finite).max(initial=1)) if b.dtype.kind == "f" else 1.0
        tolerance = max(tolerance, {"float32": 1e-5, "float16": 1e-2}.get(b.dtype.name, 0))
        if not np.allclose(a, b, rtol=0, atol=tolerance * scale, equal_nan=True):
            raise DifferenceError(f"{what}: other numbers")
    elif isinstance(theirs, list | tuple):
        if not isinstance(mine, list | tuple) or len(mine) != len(theirs):
            raise DifferenceError(
                f"{what}: {mine if isinstance(mine, tuple) else type(mine).__name__} instead of a tuple"
            )
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            compare(a, b, f"{what}[{i}]", tolerance)
    elif isinstance(theirs, torch.dtype | torch.device):
        if str(mine) != str(theirs).removeprefix("torch."):
            raise DifferenceError(f"{what}: {mine} instead of {theirs}")
    elif mine != theirs and not (theirs != theirs and mine != mine):
        raise DifferenceError(f"{what}: {mine!r} instead of {theirs!r}")


class Walk(NamedTuple):
    """Gradients of outputs: by the inputs, and the random upstream gradients they were taken with."""

    gradients: list[Any]
    upstream: list[Any]


def differentiated(lib: Any, outputs: Any, flowing: list[bool], inputs: list[Any], seed: int) -> Walk:
    """The gradients, zeros where none flows, of those float tensors among the outputs that PyTorch differentiates."""
    rng = np.random.default_rng(seed)
    found = [z for z in tensors_in(outputs) if z.dtype in (lib.float64, lib.float32, lib.float16)]
    if len(found) != len(flowing):
        raise DifferenceError(f"{len(found)} float results instead of {len(flowing)}")
    zs = [z for z, flows in zip(found, flowing, strict=True) if flows]
    upstream = [lib.tensor(np.asarray(rng.standard_normal(tuple(z.shape))), dtype=z.dtype) for z in zs]
    upstream = [u.requires_grad_() for u in upstream]
    pairs = [(z, u) for z, u in zip(zs, upstream, strict=True) if z.requires_grad]
    if not pairs:
        return Walk([lib.zeros_like(x) for x in inputs], upstream)
    with_gradient, their_upstream = zip(*pairs, strict=True)
    found = lib.autograd.grad(list(with_gradient), inputs, list(their_upstream), create_graph=True, allow_unused=True)
    return Walk([lib.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)], upstream)


def which_flow(outputs: Any) -> list[bool]:
    """Of PyTorch's float results, which require a gradient."""
    return [z.requires_grad for z in tensors_in(outputs) if z.is_floating_point()]


class Verdict(NamedTuple):
    """What came of one call: one of the words above, and why."""

    word: str
    why: str = ""


def verdict(run: Callable[[], None]) -> Verdict:
    """What came of `run`, which compares."""
    try:
        run()
    except DifferenceError as difference:
        return Verdict(WRONG, str(difference))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a refusal
        return Verdict(REFUSE, f"{type(error).__name__}: {error}".splitlines()[0])
    return Verdict(AGREE)


def judge(op: OpInfo, function: Callable[..., Any], sample: SampleInput) -> Verdict:
    """Value, gradient and gradient of the gradient of one sample."""
    with torch.enable_grad():
        theirs = op.gradcheck_wrapper(op.op, sample.input, *sample.args, **sample.kwargs)
    made: dict[int, Any] = {}

    def run() -> None:
        args, kwargs = converted([sample.input, *sample.args], made), converted(dict(sample.kwargs), made)
        mine = on_our_library(op.gradcheck_wrapper)(function, *args, **kwargs)
        a, b = sample.output_process_fn_grad(mine), sample.output_process_fn_grad(theirs)
        compare(a, b, "value")
        inputs = [x for x in tensors_in([sample.input, sample.args, sample.kwargs]) if x.requires_grad]
        flowing = which_flow(b)
        if not (op.supports_autograd and inputs and any(flowing)):
            return
        own_inputs = [made[id(x)] for x in inputs]
        try:
            expected = differentiated(torch, b, flowing, inputs, 0)
        except RuntimeError:
            return  # PyTorch itself has no such gradient
        found = differentiated(tg, a, flowing, own_inputs, 0)
        compare(found.gradients, expected.gradients, "gradient", 1e-8)
        flowing = which_flow(expected.gradients)
        if not (op.supports_gradgrad and any(flowing)):
            return
        inputs, own_inputs = inputs + expected.upstream, own_inputs + found.upstream
        try:
            expected = differentiated(torch, expected.gradients, flowing, inputs, 1)
        except RuntimeError:
            return
        found = differentiated(tg, found.gradients, flowing, own_inputs, 1)
        compare(found.gradients, expected.gradients, "gradient of gradient", 1e-7)

    return verdict(run)


# By keyword, and as a method ----------------------------------------------------------------------------------------


def parameter_lists(op: OpInfo) -> Iterator[list[str]]:
    """The names of PyTorch's positional arguments, in each of the forms that it has."""
    function = look_up(torch, op.name)
    for candidate in (function, get_testing_overrides().get(function)):
        try:
            parameters = inspect.signature(candidate).parameters.values()
        except (TypeError, ValueError):
            continue
        yield [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    for namespace in ("", "linalg_"):
        name = namespace + op.name.rpartition(".")[2]
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
            yield [{"self": "input"}.get(a.name, a.name) for a in schema.arguments if not a.kwarg_only]


def by_keyword(op: OpInfo, function: Callable[..., Any], sample: SampleInput) -> Verdict | None:
    """The value with every argument by its name; `None` where PyTorch knows no names for them."""
    if not is_plain(op) or any(op.name in names.split() for names in KEYWORDS):
        return None
    values = [sample.input, *sample.args]
    for names in parameter_lists(op):
        if len(names) < len(values):
            continue
        keywords = {**dict(zip(names, values, strict=False)), **sample.kwargs}
        try:
            theirs = op.op(**keywords)
        except (TypeError, RuntimeError):
            continue
        return verdict(partial(_compare_call, function, keywords, sample, theirs))
    return None


def as_method(op: OpInfo, sample: SampleInput) -> Verdict | None:
    """The value as a method; `None` where PyTorch has no such method, or the samples don't fit it."""
    name = op.name.rpartition(".")[2]
    method = getattr(torch.Tensor, name, None)
    if op.name.startswith("nn.") or method is None or op.method_variant is not method or not is_plain(op):
        return None
    if not isinstance(sample.input, torch.Tensor):
        return None
    try:
        theirs = method(sample.input, *sample.args, **sample.kwargs)
    except (TypeError, RuntimeError):
        return None

    def run() -> None:
        x, args, kwargs = converted((sample.input, sample.args, dict(sample.kwargs)))
        _compare_values(sample, getattr(x, name)(*args, **kwargs), theirs)

    return verdict(run)


def _compare_call(function: Callable[..., Any], keywords: Any, sample: SampleInput, theirs: Any) -> None:
    _compare_values(sample, function(**converted(keywords)), theirs)


def _compare_values(sample: SampleInput, mine: Any, theirs: Any) -> None:
    compare(sample.output_process_fn_grad(mine), sample.output_process_fn_grad(theirs), "value")


# Calls that must fail -----------------------------------------------------------------------------------------------


def fails(op: OpInfo, function: Callable[..., Any], sample: SampleInput) -> Verdict:
    """Whether a call that PyTorch refuses is refused here, with a text that names the operation."""
    try:
        args, kwargs = converted([sample.input, *sample.args]), converted(dict(sample.kwargs))
    except (NotImplementedError, TypeError, ValueError) as error:
        return Verdict(LEFT_OUT, str(error))
    try:
        if op.op(sample.input, *sample.args, **sample.kwargs) is not NotImplemented:
            return Verdict(LEFT_OUT, "PyTorch answers it, too")
    except Exception:  # noqa: BLE001 - as it must
        pass
    try:
        function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
        text = str(error)
        own = op.name.rpartition(".")[2].strip("_") in text or ":" in text
        return Verdict(AGREE) if own else Verdict(WRONG, f"{type(error).__name__}: {text}")
    return Verdict(WRONG, "no error")


# All of it ----------------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What came of one operation: per kind of call a list of verdicts."""

    name: str
    position: list[Verdict]
    keyword: list[Verdict]
    method: list[Verdict]
    errors: list[Verdict]


def operations(names: list[str] | None = None) -> list[OpInfo]:
    """PyTorch's operations whose name we have, but for those left out."""
    return [
        op
        for op in op_db
        if (not names or op.name in names) and not reason_for_operation(op.name) and ours(op) is not None
    ]


def seeded() -> None:
    """Start PyTorch's, NumPy's and Python's random numbers anew, which the samples are drawn from."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - PyTorch's samples draw from it
    random.seed(0)


def examine(op: OpInfo, limit: int | None = None) -> Result:
    """All samples of one operation, or so many, spread evenly."""
    function = ours(op)
    assert function is not None
    result = Result(op.formatted_name, [], [], [], [])
    dtypes = op.supported_dtypes("cpu")
    dtype = next((d for d in (torch.float64, torch.int64, torch.bool) if d in dtypes), None)
    if dtype is None:
        return result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeded()
        samples = list(op.sample_inputs("cpu", dtype, requires_grad=op.supports_autograd and dtype.is_floating_point))
        if limit and len(samples) > limit:
            samples = [samples[i * len(samples) // limit] for i in range(limit)]
        for sample in samples:
            if reason := _left_out(op, sample):
                result.position.append(Verdict(LEFT_OUT, reason))
                continue
            result.position.append(judge(op, function, sample))
            result.keyword.extend(filter(None, [by_keyword(op, function, sample)]))
            result.method.extend(filter(None, [as_method(op, sample)]))
        if op.error_inputs_func is not None:
            seeded()
            for error in op.error_inputs("cpu"):
                reason = _error_left_out(op, error.error_regex)
                call = error.sample_input
                verdict = fails(op, function, call)
                known = verdict.word != AGREE and reason
                result.errors.append(Verdict(ANSWERED, reason) if known else verdict)
    return result


def _left_out(op: OpInfo, sample: SampleInput) -> str | None:
    if any(x.is_complex() for x in tensors_in([sample.input, sample.args, sample.kwargs])) or any(
        isinstance(x, complex) or (isinstance(x, torch.dtype) and x.is_complex)
        for x in (*_flat(sample.args), *sample.kwargs.values(), sample.input)
    ):
        return "complex numbers"
    return next((why for name, which, why in SAMPLES if name == op.name and which(sample)), None)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def _error_left_out(op: OpInfo, text: str) -> str | None:
    return next((why for name, part, why in ERRORS if name == op.name and part in text), None)


def counts(verdicts: list[Verdict]) -> str:
    """`agree / of`, for the table."""
    judged = [v for v in verdicts if v.word != LEFT_OUT]
    return f"{sum(v.word == AGREE for v in judged)} / {len(judged)}" if judged else ""


def table(results: list[Result]) -> str:
    """All operations, and the sums, in Markdown."""
    lines = ["| operation | agree | refuse | wrong | by keyword | as a method | errors | answered |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
    lines += [f"| {r.name} | {' | '.join(map(str, numbers(r)))} |" for r in results]
    everything = Result("", *([v for r in results for v in getattr(r, kind)] for kind in Result._fields[1:]))
    return "\n".join([*lines, f"| **all** | {' | '.join(map(str, numbers(everything)))} |"])


def numbers(result: Result) -> list[Any]:
    """A row of the table."""
    words = Counter(v.word for v in result.position)
    answered = sum(v.word == ANSWERED for v in result.errors)
    judged = map(counts, (result.keyword, result.method, result.errors))
    return [words[AGREE], words[REFUSE], words[WRONG], *judged, answered or ""]


def main() -> None:
    """Run all samples and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", nargs="*", default=[], help="refuse, wrong, keyword, method, errors")
    parser.add_argument("--only", nargs="*", help="names of operations; then nothing is written")
    parser.add_argument("--limit", type=int, help="samples of each operation; then nothing is written")
    args = parser.parse_args()
    results = [examine(op, args.limit) for op in operations(args.only)]
    text = f"# {__doc__.splitlines()[0]}\n\n{table(results)}\n"
    print(text)
    for word in args.show:
        for r in results:
            verdicts = r.position if word in (REFUSE, WRONG) else getattr(r, word)
            bad = Counter(v.why for v in verdicts if (v.word == word if verdicts is r.position else v.why))
            for why, n in bad.items():
                print(f"{word}: {r.name}: {n} × {why}"[:300])
    if not (args.only or args.limit):
        RESULTS.parent.mkdir(exist_ok=True)
        with writing(RESULTS) as path:
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
