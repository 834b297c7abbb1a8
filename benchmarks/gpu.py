"""On a card: does everything compute what the CPU computes, and how long does it take beside PyTorch?

    python -m benchmarks.gpu            # ten minutes at most, on a machine with a card and CuPy
    python -m benchmarks.gpu --short    # a minute or two: few calls, small images; the times then mean little

`operations`: each row of `tests/op_cases.py`, values and derivatives to the second order, on CUDA against float64 on
the CPU, in float64 and in float32. `steps`: training and prediction of a ResNet-18, MRNet's step, and the tutorial's
two loops, in float32, TF32 and float16, and captured as CUDA graphs, beside PyTorch (eager) on the same card.
`layers`: the parts of those. `examples`: their short forms. What was found is written to `results/gpu.json` with the
card's name after every part, so that a run that is cut short leaves what it has. Where PyTorch, or its CUDA, is not
there, its times are missing, and the file says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_med
from tinygrad_med import models

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("float32", "TF32", "float16")
ROUNDS, SHORT_ROUNDS = 7, 2
BARS = {
    ("ResNet-18 training, 64", "TF32"): 1.2,
    ("ResNet-18 prediction, 64", "TF32"): 1.2,
    ("linear loop, captured", "float32"): 0.4,
    ("mlp loop, captured", "float32"): 0.4,
}
"""Ours over PyTorch's time, at most."""

Work = Callable[[], object]
Make = Callable[[Any, str], Work]
"""Makes a work of a library and the name of a precision."""


class Clock:
    """How much of the time that the whole may take is left."""

    def __init__(self, seconds: float) -> None:
        self.end = perf_counter() + seconds

    def left(self) -> float:
        """Seconds."""
        return self.end - perf_counter()


# ---------------------------------------------------------------- the card


def card() -> dict[str, Any]:
    """The card, the libraries, and what is missing of PyTorch."""
    import cupy

    torch, problem = pytorch()
    return {
        "card": tinygrad_med.cuda.get_device_name(),
        "memory": tinygrad_med.cuda.mem_get_info()[1],
        "compute capability": str(cupy.cuda.Device().compute_capability),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cupy": cupy.__version__,
        "tinygrad_med": version("tinygrad_med") if _installed("tinygrad_med") else tinygrad_med.__version__,
        "pytorch": torch.__version__ if torch else None,
        "pytorch is missing": problem,
    }


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ImportError:
        return False


def pytorch() -> tuple[Any, str | None]:
    """PyTorch where it can use this card, and otherwise what is missing."""
    try:
        import torch
    except ImportError:
        return None, "PyTorch is not installed"
    return (torch, None) if torch.cuda.is_available() else (None, f"PyTorch {torch.__version__} sees no card")


# ---------------------------------------------------------------- operations


def operations(short: bool, clock: Clock) -> dict[str, Any]:
    """What `tests/ops/on_a_card.py` finds, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "operations.json")
        line = [sys.executable, "-m", "tests.ops.on_a_card", str(file), "--seconds", str(max(1.0, clock.left()))]
        line += ["--every", "8", "--examples", "1"] if short else []
        subprocess.run(line, cwd=ROOT, check=True)
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    print("   ", f"{found['agree']} rows agree, {len(found['differ'])} differ, {len(found['not reached'])} not reached")
    return found


# ---------------------------------------------------------------- times


@contextmanager
def precision(lib: Any, name: str) -> Iterator[Any]:
    """Products in float32 or TF32; gives what to compute a loss in, which is autocast for float16."""
    switches = [lib.backends.cuda.matmul, *([lib.backends.cudnn] if lib is not tinygrad_med else [])]
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = name == "TF32"
    try:
        yield lambda: lib.autocast("cuda", dtype=lib.float16) if name == "float16" else nullcontext()
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def compare_times(name: str, make: Make, kind: str, rounds: int) -> dict[str, Any]:
    """The times of both libraries, which take turns; a turn is many repetitions, until the card is done."""
    torch, _ = pytorch()
    found: dict[str, Any] = {"work": name, "precision": kind}
    works = {}
    for who, lib in {"ours": tinygrad_med, **({"PyTorch": torch} if torch else {})}.items():
        try:
            with precision(lib, kind):
                work = make(lib, kind)
                works[who] = (lib, work, turn_length(lib, work))
        except Exception as error:  # noqa: BLE001, PERF203 - the other pieces shall have their turn
            found[f"{who} failed"] = f"{type(error).__name__}: {str(error)[:300]}"
    times: dict[str, list[float]] = {who: [] for who in works}
    for i in range(rounds):
        for who in list(works)[:: 1 if i % 2 else -1]:
            lib, work, count = works[who]
            with precision(lib, kind):
                times[who].append(seconds(lib, work, count))
    for who, values in times.items():
        found[f"{who}, ms"] = round(statistics.median(values) * 1e3, 4)
        found[f"{who}, single times in ms"] = [round(value * 1e3, 4) for value in values]
    if len(times) == 2:
        found["ratio"] = round(statistics.median(a / b for a, b in zip(*times.values(), strict=True)), 3)
        found["bar"] = BARS.get((name, kind))
    works.clear()
    tinygrad_med.cuda.empty_cache()
    if torch:
        torch.cuda.empty_cache()
    print("   ", {key: value for key, value in found.items() if "single" not in key}, flush=True)
    return found


def turn_length(lib: Any, work: Work) -> int:
    """How many repetitions take about 0.1 s, after some that compile and fill caches."""
    for _ in range(3):
        work()
    return max(1, min(200, int(0.1 / seconds(lib, work, 1))))


def seconds(lib: Any, work: Work, count: int) -> float:
    """Of one repetition, with the card's part of it."""
    work()
    lib.cuda.synchronize()
    start = perf_counter()
    for _ in range(count):
        work()
    lib.cuda.synchronize()
    return (perf_counter() - start) / count


def on_card(lib: Any, *arrays: np.ndarray) -> list[Any]:
    """Arrays as a library's tensors on the card."""
    return [lib.from_numpy(array).to("cuda") for array in arrays]


RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    """Random images."""
    return RNG.standard_normal(shape, np.float32)


# ---------------------------------------------------------------- whole steps


def training(lib: Any, net: Any, kind: str, loss_of: Callable[[], Any], optimizer: Any) -> Work:
    """A step: loss, gradients, and weights that move; with a scaled loss in float16."""
    scaler = lib.amp.GradScaler("cuda", enabled=kind == "float16")
    net.train()

    def work() -> None:
        optimizer.zero_grad()
        with lib.autocast("cuda", dtype=lib.float16, enabled=kind == "float16"):
            loss = loss_of()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return work


def resnet(lib: Any) -> Any:
    """A ResNet-18 on the card."""
    if lib is tinygrad_med:
        return models.resnet18(num_classes=6).to("cuda")
    import torch_networks

    return torch_networks.ResNet18(6).to("cuda")


def resnet_training(batch: int, side: int) -> Make:
    """A step of SGD with momentum."""

    def make(lib: Any, kind: str) -> Work:
        net = resnet(lib)
        x, y = on_card(lib, noise(batch, 3, side, side), np.arange(batch) % 6)
        optimizer = lib.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        return training(lib, net, kind, lambda: lib.nn.functional.cross_entropy(net(x), y), optimizer)

    return make


def resnet_prediction(batch: int, side: int) -> Make:
    """A pass without gradients; of ours with batch-norm folded into the convolutions."""

    def make(lib: Any, kind: str) -> Work:
        net = resnet(lib).eval()
        net = net.fused() if lib is tinygrad_med else net
        (x,) = on_card(lib, noise(batch, 3, side, side))

        def work() -> None:
            with lib.no_grad(), lib.autocast("cuda", dtype=lib.float16, enabled=kind == "float16"):
                net(x)

        return work

    return make


def mrnet_step(slices: int, side: int) -> Make:
    """A step of Adam on one exam of three series."""

    def make(lib: Any, kind: str) -> Work:
        if lib is tinygrad_med:
            from tinygrad_med.models.mrnet import MRNet

            net = MRNet(3)
        else:
            from mrnet_step import pytorch_model

            net = pytorch_model()
        net.to("cuda")
        exam = on_card(lib, *(noise(slices, 3, side, side) for _ in range(3)))
        y, weights = on_card(lib, np.array([[1, 0, 1]], "float32"), np.array([0.24, 4.4, 1.8], "float32"))
        criterion = lib.nn.BCEWithLogitsLoss(pos_weight=weights)
        optimizer = lib.optim.Adam(net.parameters(), lr=1e-5, weight_decay=0.01)
        return training(lib, net, kind, lambda: criterion(net(exam), y), optimizer)

    return make


def loop(hidden: int | None, batches: int = 8, pixels: int = 4096) -> Make:
    """The tutorial's loop over some batches: weights that step against their gradients."""

    def make(lib: Any, kind: str) -> Work:
        data = [tuple(on_card(lib, noise(64, pixels) / 64, np.arange(64) % 6)) for _ in range(batches)]
        layers = [lib.nn.Linear(pixels, 10)] if hidden is None else [lib.nn.Linear(pixels, hidden), lib.nn.ReLU()]
        layers += [] if hidden is None else [lib.nn.Linear(hidden, 6)]
        net = lib.nn.Sequential(*layers).to("cuda")
        parameters = list(net.parameters())

        def work() -> None:
            for x, y in data:
                with lib.autocast("cuda", dtype=lib.float16, enabled=kind == "float16"):
                    loss = lib.nn.functional.cross_entropy(net(x), y)
                loss.backward()
                with lib.no_grad():
                    for p in parameters:
                        p -= p.grad * 0.01
                        p.grad.zero_()

        return work

    return make


def captured(name: str, make: Make) -> tuple[str, Make]:
    """The same work as a CUDA graph; PyTorch's is not captured."""

    def made(lib: Any, kind: str) -> Work:
        work = make(lib, kind)
        return lib.cuda.capture(work) if lib is tinygrad_med else work

    return f"{name}, captured", made


def steps(short: bool, clock: Clock) -> list[Any]:
    """The works, the most wanted first."""
    side, batches = (32, (2,)) if short else (224, (64, 16, 256))
    sizes = (2, 64) if short else (8, 4096)
    works = [("linear loop", loop(None, *sizes)), ("mlp loop", loop(128, *sizes))]
    for batch in batches:
        works += [(f"ResNet-18 training, {batch}", resnet_training(batch, side))]
        works += [(f"ResNet-18 prediction, {batch}", resnet_prediction(batch, side))]
    works = [both for work in works for both in (work, captured(*work))]
    works.insert(8, ("MRNet, a step", mrnet_step(2 if short else 24, 64 if short else 224)))
    return timed(works, clock, PRECISIONS, SHORT_ROUNDS if short else ROUNDS)


def timed(works: list[tuple[str, Make]], clock: Clock, kinds: tuple[str, ...], rounds: int) -> list[Any]:
    """The times of the works that the clock lets begin."""
    found: list[Any] = []
    for name, make in works:
        for kind in kinds:
            if name.endswith("captured") and kind == "float16":  # its scaler looks at the gradients in each step
                continue
            if clock.left() < 0:
                found.append({"work": name, "precision": kind, "not reached": True})
            else:
                found.append(compare_times(name, make, kind, rounds))
    return found


# ---------------------------------------------------------------- single layers


def layer(build: Callable[[Any], Callable[[Any], Any]], *shape: int) -> Make:
    """A layer, forward and back."""

    def make(lib: Any, kind: str) -> Work:
        function = build(lib)
        (x,) = on_card(lib, noise(*shape))
        x.requires_grad_()

        def work() -> None:
            x.grad = None
            with lib.autocast("cuda", dtype=lib.float16, enabled=kind == "float16"):
                z = function(x)
            z.backward(lib.ones_like(z))

        return work

    return make


def optimizer_step(name: str) -> Make:
    """A step on a ResNet-18's parameters."""

    def make(lib: Any, kind: str) -> Work:  # noqa: ARG001 - every work gets it
        net = resnet(lib)
        for p in net.parameters():
            p.grad = lib.ones_like(p.detach())
        return getattr(lib.optim, name)(net.parameters(), lr=1e-3).step

    return make


def layers(short: bool, clock: Clock) -> list[Any]:
    """What a ResNet-18 step is made of, at its sizes."""
    n, half = (2, 8) if short else (64, 56)

    def conv(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
        return lambda lib: lib.nn.Conv2d(*arguments, bias=False, **options).to("cuda")

    works: list[tuple[str, Make]] = [
        ("conv 7×7, 3 → 64, stride 2", layer(conv(3, 64, 7, stride=2, padding=3), n, 3, half * 4, half * 4)),
        ("conv 3×3, 64 → 64", layer(conv(64, 64, 3, padding=1), n, 64, half, half)),
        ("conv 3×3, 512 → 512", layer(conv(512, 512, 3, padding=1), n, 512, half // 8, half // 8)),
        ("conv 1×1, 64 → 128, stride 2", layer(conv(64, 128, 1, stride=2), n, 64, half, half)),
        ("batch-norm, 64", layer(lambda lib: lib.nn.BatchNorm2d(64).to("cuda"), n, 64, half * 2, half * 2)),
        ("max-pool 3×3, stride 2", layer(lambda lib: lib.nn.MaxPool2d(3, 2, 1), n, 64, half * 2, half * 2)),
        ("relu", layer(lambda lib: lib.nn.ReLU(), n, 64, half * 2, half * 2)),
        ("linear, 4096 → 4096", layer(lambda lib: lib.nn.Linear(4096, 4096).to("cuda"), n, 4096)),
        ("log-softmax", layer(lambda lib: lib.nn.LogSoftmax(1), n * 16, 1000)),
        ("SGD, ResNet-18", optimizer_step("SGD")),
        ("Adam, ResNet-18", optimizer_step("Adam")),
    ]
    kinds = ("float32",) if short else PRECISIONS
    return timed(works, clock, kinds, SHORT_ROUNDS if short else ROUNDS)


# ---------------------------------------------------------------- examples

EXAMPLES = [
    "medical_mnist.py --phantoms 50 --epochs 2 --model linear",
    "medical_mnist.py --phantoms 50 --epochs 2 --model mlp",
    "medical_mnist.py --phantoms 50 --epochs 2 --model cnn",
    "mrnet.py --phantoms 16 --weights random --lr 1e-4 --epochs 1 --slices 6 7",
]
SHORT_EXAMPLES = ["medical_mnist.py --phantoms 10 --epochs 1 --model linear"]


def examples(short: bool, clock: Clock) -> list[Any]:
    """Their short forms on CUDA: whether they end well, and in what time."""
    found = []
    for command in SHORT_EXAMPLES if short else EXAMPLES:
        name, *options = command.split()
        if clock.left() < 0:
            found.append({"example": command, "not reached": True})
            continue
        with tempfile.TemporaryDirectory() as folder:
            where = ["--device", "cuda", "--out", str(Path(folder, "out"))]
            line = [sys.executable, str(ROOT / "examples" / name), *options, *where]
            start = perf_counter()
            try:
                done = subprocess.run(
                    line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60 + max(0, clock.left())
                )
                said, status = (done.stdout + done.stderr).strip().splitlines(), done.returncode
            except subprocess.TimeoutExpired:
                said, status = ["it took too long"], -1
            found.append(
                {"example": command, "status": status, "seconds": round(perf_counter() - start, 1), "said": said[-3:]}
            )
        print("   ", found[-1], flush=True)
    return found


# ---------------------------------------------------------------- all of it

PARTS = {
    "operations": (operations, 0.25),
    "steps": (steps, 0.45),
    "layers": (layers, 0.15),
    "examples": (examples, 0.15),
}
"""In their order, with their shares of the time; what one leaves the next ones have."""


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, and write what they found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few calls and small sizes")
    parser.add_argument("--seconds", type=float, default=600, help="when to leave out the rest; default: 600")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given several times")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    options = parser.parse_args(arguments)
    if problem := tinygrad_med.cuda.why_not():
        print(f"error: there is no card: {problem}", file=sys.stderr)
        return 2
    sys.path[:0] = [str(ROOT / "benchmarks")]  # where the networks in PyTorch are
    began, whole = perf_counter(), Clock(options.seconds)
    found: dict[str, Any] = {"question": (__doc__ or "").splitlines()[0], **card(), "short": options.short}
    print(json.dumps(found, indent=1), flush=True)
    chosen = {name: PARTS[name] for name in options.only or PARTS}
    for i, (name, (part, _)) in enumerate(chosen.items()):
        shares = [share for _, share in list(chosen.values())[i:]]
        print(f"{name} …", flush=True)
        found[name] = part(options.short, Clock(whole.left() * shares[0] / sum(shares)))
        found["seconds"] = round(perf_counter() - began, 1)
        save(options.out, found)
    print(f"wrote {options.out}: {found['card']}, {found['seconds']} s")
    return 0


def save(path: Path, found: dict[str, Any]) -> None:
    """Write what was found so far."""
    from tinygrad_med._files import writing

    path.parent.mkdir(exist_ok=True)
    with writing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
