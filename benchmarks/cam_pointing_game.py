"""Do class activation maps point at what the network must have seen?

Radiographs of phantoms, half of them with a planted lesion (`tinygrad_med.data.phantoms.lesions`), teach a small
network with the plain head to tell the two apart. The lesion is the only difference, so a network that is right has
seen it, and a map for its answer should point there. Of each method, for lesions in images that the network has
not seen:

- pointing game (Zhang et al. 2016, arXiv:1608.00507): the share of images in which the map's largest value, enlarged to
  the image, lies in the lesion. A map that shows nothing is a miss. At the last block (8×8) and the one before (16×16).
- deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421): the probability of "lesion", averaged while pixels are
  taken out, or put in, in the order of the map. Where a pixel is out, the blurred image stands in its place.
  Deletion is better if it is lower, insertion if it is higher.

Below the methods: an order drawn at random, the brightness of the image itself, and the truth.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
NAME = "cam_pointing_game"
NETWORKS = 3  # trained from different seeds, on different phantoms
CHANNELS = (8, 16, 32)
TRAINING, EPOCHS, BATCH, RATE = 3000, 10, 32, 1e-2
TEST = 160  # images, half of them with a lesion
LESION = 1  # the class
STEPS = 16  # of the deletion and insertion curves
BLUR = 8.0  # pixels, the standard deviation
LAST, BEFORE = -1, -2


def prepare(images: np.ndarray) -> Any:
    """(n, 64, 64), 0 … 255 -> (n, 1, 64, 64), of mean 0 and standard deviation 1, more or less."""
    import tinygrad_med as tg

    return tg.tensor(((images[:, None] / 255 - 0.35) * 6).astype(np.float32))


def trained(seed: int) -> Any:
    """A network that tells lesions from no lesions."""
    import tinygrad_med as tg
    from tinygrad_med import models, optim
    from tinygrad_med.data.phantoms import lesions
    from tinygrad_med.nn import functional as F

    tg.manual_seed(seed)
    data = lesions.generate(TRAINING, seed=100 + seed)
    x, y = prepare(data.images), tg.tensor(data.labels)
    net = models.small_cnn(len(lesions.CLASSES), channels=CHANNELS)
    optimizer = optim.Adam(net.parameters(), lr=RATE)
    rng = np.random.default_rng(seed)
    batches = [
        rows for _ in range(EPOCHS) for rows in np.split(rng.permutation(TRAINING), range(BATCH, TRAINING, BATCH))
    ]
    for i, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = RATE * (1 - i / len(batches))
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def probabilities(net: Any, x: Any) -> np.ndarray:
    """Of a lesion in each image of a batch."""
    import tinygrad_med as tg

    with tg.no_grad():
        return tg.softmax(net(x), 1)[:, LESION].numpy()


def enlarged(values: np.ndarray, size: int) -> np.ndarray:
    """A map at the size of the image, bilinear, as an overlay shows it."""
    import tinygrad_med as tg
    from tinygrad_med.nn.functional import interpolate

    return interpolate(tg.tensor(values[None, None]), size, mode="bilinear")[0, 0].numpy()


def blurred(images: np.ndarray) -> np.ndarray:
    """Gaussian blur, the rim repeated beyond itself."""
    places = np.arange(images.shape[-1])
    weights = np.exp(-0.5 * ((places[:, None] - np.arange(-64, 128)) / BLUR) ** 2)
    sources = np.arange(-64, 128).clip(0, places[-1])
    matrix = np.stack([weights[:, sources == place].sum(1) for place in places], 1)
    matrix /= matrix.sum(1, keepdims=True)
    return matrix @ images @ matrix.T


def deletion_and_insertion(net: Any, image: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """The areas under the two curves."""
    rank = np.empty(image.size)
    rank[np.argsort(values, axis=None, kind="stable")[::-1]] = np.arange(image.size) / image.size
    first = rank.reshape(image.shape) < np.linspace(0, 1, STEPS + 1)[:, None, None]  # the pixels whose turn has come
    without = blurred(image)
    frames = np.concatenate([np.where(first, without, image), np.where(first, image, without)])
    p = probabilities(net, prepare(frames)).reshape(2, -1)
    deletion, insertion = ((p[:, 1:] + p[:, :-1]) / 2).mean(1)
    return float(deletion), float(insertion)


@dataclass(frozen=True)
class Answer:
    """What came of one map."""

    network: int
    image: int
    method: str
    hit: bool
    hit_before: bool | None
    """At the block before the last; `None` where there is no such map."""
    empty: bool
    deletion: float
    insertion: float


def hit(values: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the largest value lies in the lesion."""
    return bool(mask.flat[values.argmax()])


def play(seed: int) -> tuple[Any, list[Answer], str]:
    """Train a network, ask every method about every lesion; the network, the answers, and how good it is."""
    from tinygrad_med import cam
    from tinygrad_med.data.phantoms import lesions

    start = time.process_time()
    net = trained(seed)
    took = time.process_time() - start
    data = lesions.generate(TEST, seed=200 + seed)
    p = probabilities(net, prepare(data.images))
    accuracy = ((p > 0.5) == data.labels).mean()
    out = probabilities(net, prepare(blurred(data.images.astype(np.float32))[data.labels == LESION])).mean()
    training = f"{took:.0f} s of processor time to train"
    facts = f"network {seed}: {training}, accuracy {accuracy:.1%}, P(lesion) of a blurred lesion {out:.2f}"
    print(facts, flush=True)

    answers = []
    rng = np.random.default_rng(seed)
    for i in np.flatnonzero(data.labels == LESION):
        image, mask = data.images[i].astype(np.float32), data.masks[i]
        x = prepare(data.images[i : i + 1])
        for name, method in (cam.METHODS | cam.INPUT_METHODS).items():
            at_block = name in cam.METHODS
            found = method(net, x, LESION, LAST) if at_block else method(net, x, LESION)
            values = enlarged(found.raw, len(image))
            empty = found.problem is not None
            before = method(net, x, LESION, BEFORE) if at_block and name != "CAM" else None
            sharper = None if before is None else not before.problem and hit(enlarged(before.raw, len(image)), mask)
            areas = deletion_and_insertion(net, image, values)
            answers.append(Answer(seed, i, name, not empty and hit(values, mask), sharper, empty, *areas))
        for name, values in (("(at random)", rng.random(image.shape)), ("(brightness)", image), ("(the truth)", mask)):
            areas = deletion_and_insertion(net, image, values)
            answers.append(Answer(seed, i, name, hit(values, mask), None, False, *areas))
    return net, answers, facts


def picture(net: Any, path: Path) -> None:
    """The overlays of every method for a few lesions that nobody has seen, the lesion outlined."""
    import matplotlib.pyplot as plt

    from tinygrad_med import cam
    from tinygrad_med.data.phantoms import lesions

    data = lesions.generate(12, seed=300)
    sick = np.flatnonzero(data.labels == LESION)
    methods = cam.METHODS | cam.INPUT_METHODS
    figure, rows = plt.subplots(len(sick), 1 + len(methods), figsize=(15, 9), layout="constrained")
    titles = ["image", *(name.replace(" ", "\n") for name in methods)]
    for row, i in zip(rows, sick, strict=True):
        row[0].imshow(data.images[i], cmap="gray", extent=(0, 64, 64, 0))
        for ax, method in zip(row[1:], methods.values(), strict=True):
            method(net, prepare(data.images[i : i + 1]), LESION).overlay(data.images[i], ax)
        for ax, title in zip(row, titles, strict=True):
            ax.set_axis_off()
            ax.set_title(title, fontsize=9)
            ax.contour(np.arange(64) + 0.5, np.arange(64) + 0.5, data.masks[i], [0.5], colors="cyan", linewidths=0.7)
    figure.savefig(path, dpi=80, format="jpeg", pil_kwargs={"quality": 85})
    plt.close(figure)


def table(answers: list[Answer], facts: Sequence[str]) -> str:
    """The answers in Markdown: the mean over all images, and the range of the networks' means."""
    methods = list(dict.fromkeys(a.method for a in answers))

    def cell(method: str, value: Callable[[Answer], float | None], style: str) -> str:
        means = []
        for network in range(NETWORKS):
            values = [value(a) for a in answers if a.method == method and a.network == network]
            if None in values:
                return ""
            means.append(statistics.mean(values))  # type: ignore[arg-type]
        mean, low, high = (format(v, style) for v in (statistics.mean(means), min(means), max(means)))
        return mean if low == high else f"{mean} ({low} – {high})"

    lines = [
        f"# {__doc__}",
        f"Means over {NETWORKS} networks and {TEST // 2} lesions each; in brackets the range over the networks.",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "| method | points at the lesion, last block | the block before | deletion ↓ | insertion ↑ | empty |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method in methods:
        own = [a for a in answers if a.method == method]
        cells = [
            method,
            cell(method, lambda a: a.hit, ".0%"),
            cell(method, lambda a: a.hit_before, ".0%"),
            cell(method, lambda a: a.deletion, ".3f"),
            cell(method, lambda a: a.insertion, ".3f"),
            str(sum(a.empty for a in own)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Play, print the table, and write it, all answers, and a picture of the first network's maps to `results/`."""
    from tinygrad_med._files import writing

    with ProcessPoolExecutor() as pool:
        nets, rounds, facts = zip(*pool.map(play, range(NETWORKS)), strict=True)
    answers = [answer for one in rounds for answer in one]
    text = table(answers, facts)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / f"{NAME}.jpg") as path:
        picture(nets[0], path)
    with writing(RESULTS / f"{NAME}.md") as path:
        path.write_text(text, "utf-8")
    with writing(RESULTS / f"{NAME}.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(Answer.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(
            {**vars(a), "deletion": f"{a.deletion:.4f}", "insertion": f"{a.insertion:.4f}"} for a in answers
        )


if __name__ == "__main__":
    main()
