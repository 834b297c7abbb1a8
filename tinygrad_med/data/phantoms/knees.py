"""Phantom MRI exams of knees, in the layout of MRNet-v1.0, with lesions at known places.

A knee is a list of solids, ellipsoids and rounded boxes, painted from the outside in: leg, muscles, bones, cartilage,
menisci, ligaments. A series of slices is this one body cut along an axis, so the three planes of an exam agree. What
differs from knee to knee (side, pose, size, contrast, texture, noise) is drawn at random.

A lesion is a ball of fluid, crossed by dark layers, where the disease would be:

    abnormal    an effusion in the pouch above the kneecap, layers lying; knees with a tear have one too, as most do
    acl         in the notch between the condyles, layers facing the front
    meniscus    in one of the four horns of the menisci, layers facing the side

Every knee has fluid as bright, in the pouch and in a vessel, so brightness gives nothing away: a network has to look at
the layers, and at which way they lie.

`lesions.csv`, beside the files of MRNet, says which slices cut which lesion and where.

Coordinates run from -1 to 1: x from the lateral side to the medial, y from front to back, z downwards. Axial slices
show (y, x) in rows and columns, coronal ones (z, x), sagittal ones (z, y).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import naming_damage, writing
from tinygrad_med.data.mrnet import LABELS, PLANES, SIZE

AXES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}  # of the slices, the rows, the columns
REACH = {"axial": 0.75, "coronal": 0.6, "sagittal": 0.65}  # of the first and the last slice
PIXEL = 2 / SIZE
GRID = (np.arange(SIZE, dtype=np.float32) + 0.5) * PIXEL - 1

Vector = NDArray[np.float64]  # (3,)


class Cut(NamedTuple):
    """Where a slice cuts a lesion: a disc."""

    plane: str
    slice: int
    row: float  # pixels of the file's 256×256
    column: float
    radius: float

    def mask(self) -> NDArray[np.bool_]:
        """(256, 256), true inside."""
        rows, columns = np.ogrid[:SIZE, :SIZE]
        inside: NDArray[np.bool_] = (rows - self.row) ** 2 + (columns - self.column) ** 2 <= self.radius**2
        return inside


class Solid(NamedTuple):
    """|M (p − centre)| ≤ 1 in the norm of the given power: 2 for an ellipsoid, 6 for a box with round edges."""

    centre: Vector
    matrix: NDArray[np.float64]  # (3, 3): its rows are the axes, each divided by the radius there
    thin: float  # the smallest radius
    power: int

    @property
    def extent(self) -> Vector:
        """How far it reaches from its centre along x, y and z; a box with round edges, no farther than that."""
        of_ellipsoid: Vector = np.sqrt(np.square(np.linalg.inv(self.matrix)).sum(1))
        return of_ellipsoid * (1 if self.power == 2 else 3 ** (1 / 3))

    def moved(self, turn: NDArray[np.float64], shift: Vector, zoom: float) -> Solid:
        """This solid after p ↦ zoom · turn · p + shift."""
        matrix = self.matrix @ turn.T / zoom
        return Solid(zoom * turn @ self.centre + shift, matrix, zoom * self.thin, self.power)


def generate(
    root: str | os.PathLike[str],
    train: int = 100,
    valid: int = 50,
    *,
    slices: tuple[int, int] = (20, 32),
    seed: int = 0,
) -> None:
    """Write phantom exams and `lesions.csv` into the folder `root`, which is made if it is not there.

    Args:
        train, valid: exams of each split
        slices: the fewest and the most of a series, at least 6: with fewer a lesion may lie between two slices
        seed: same seed, same bits
    """
    if slices[0] < 6 or slices[1] < slices[0]:
        raise ValueError(f"knees.generate: slices={slices} must be the fewest and the most, at least 6")
    if min(train, valid) < 8:
        raise ValueError(f"knees.generate: {train} and {valid} exams; ask for at least 8 of each, to have all labels")
    folder = Path(root).expanduser()
    rows: list[tuple[object, ...]] = []
    for number, (split, count) in enumerate({"train": train, "valid": valid}.items()):
        for plane in PLANES:
            (folder / split / plane).mkdir(parents=True, exist_ok=True)
        labels = draw_labels(count, np.random.default_rng((seed, number)))
        for i in range(count):
            exam = f"{number * train + i:04d}"
            series, cuts = paint_exam(labels[i], slices, np.random.default_rng((seed, number, i)))
            for plane, volume in series.items():
                with writing(folder / split / plane / f"{exam}.npy") as path, path.open("wb") as file:
                    np.save(file, volume)
            rows += [(split, exam, label, *cut) for label, found in cuts.items() for cut in found]
        for j, label in enumerate(LABELS):
            table = [(f"{number * train + i:04d}", int(labels[i, j])) for i in range(count)]
            _write_csv(folder / f"{split}-{label}.csv", table)
    _write_csv(folder / "lesions.csv", [("split", "exam", "label", *Cut._fields), *rows])


def read_lesions(root: str | os.PathLike[str], split: str) -> dict[tuple[str, str], list[Cut]]:
    """By exam and label, the cuts of the lesion, from `lesions.csv`; raises a `ValueError` where it is damaged."""
    lesions: dict[tuple[str, str], list[Cut]] = {}
    path = Path(root).expanduser() / "lesions.csv"
    with (
        naming_damage(f"knees: {path} is damaged (…); delete the folder, and generate the exams again"),
        path.open(encoding="utf-8", newline="") as file,
    ):
        for row in csv.DictReader(file):
            if row["split"] == split:
                cut = Cut(row["plane"], int(row["slice"]), *(float(row[name]) for name in Cut._fields[2:]))
                lesions.setdefault((row["exam"], row["label"]), []).append(cut)
    return lesions


def draw_labels(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count, 3): of ten knees three are healthy, two have no tear, two a torn ACL, two a torn meniscus, one both."""
    some, more = [(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 0, 0)], [(1, 1, 0), (1, 0, 1), (0, 0, 0), (1, 0, 0)]
    kinds = np.array([*some, *more, (1, 1, 0), (1, 0, 1)])
    labels: NDArray[np.int64] = kinds[rng.permutation(np.arange(count) % len(kinds))]
    return labels


# ---------------------------------------------------------------- one knee


def paint_exam(
    labels: NDArray[np.int64], slices: tuple[int, int], rng: np.random.Generator
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, list[Cut]]]:
    """An exam's volumes by plane, (slices, 256, 256), and the cuts of its lesions by label."""
    knee = list(anatomy(rng))
    lesions = {label: ball(label, rng) for label, has in zip(LABELS, labels, strict=True) if has}
    fluid = rng.uniform(0.9, 1.0)
    for label, one in lesions.items():
        knee += [(one, fluid, 1.0), *((dark, 0.1, 1.0) for dark in layers(label, one))]
    turn, shift, zoom = _turn(rng.uniform(-0.1, 0.1, 3)), rng.uniform(-0.06, 0.06, 3), rng.uniform(0.94, 1.06)
    if rng.random() < 0.5:
        turn = turn * (-1, 1, 1)  # the other leg: x is mirrored
    knee = [(solid.moved(turn, shift, zoom), grey, opacity) for solid, grey, opacity in knee]
    lesions = {label: solid.moved(turn, shift, zoom) for label, solid in lesions.items()}

    series: dict[str, NDArray[np.uint8]] = {}
    cuts: dict[str, list[Cut]] = {label: [] for label in lesions}
    for plane in PLANES:
        count = int(rng.integers(slices[0], slices[1] + 1))
        where = np.linspace(-REACH[plane], REACH[plane], count)
        pictures = np.stack([_paint_slice(knee, AXES[plane], float(at)) for at in where])
        series[plane] = _develop(pictures, rng)
        for label, one in lesions.items():
            cuts[label] += _cuts(one, plane, where)
    return series, cuts


def anatomy(rng: np.random.Generator) -> Iterator[tuple[Solid, float, float]]:
    """The solids of a healthy knee, from the outside in, with their grey and their opacity."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    fat, muscle, marrow = between(0.5, 0.62), between(0.28, 0.36), between(0.42, 0.52)
    cortex, cartilage, ligament = 0.06, between(0.55, 0.65), between(0.08, 0.14)
    fluid = between(0.9, 1.0)

    yield solid((0, 0, 0), (0.8, 0.76, 9)), fat, 1.0  # the leg, from end to end
    yield solid((0, 0.04, 0), (0.74, 0.66, 9)), muscle, 1.0
    for side in (-1, 1):
        for y, z, size in ((0.42, -0.7, 0.26), (0.44, 0.75, 0.28)):  # hamstrings, gastrocnemius: fat between muscles
            yield solid((side * 0.3, y, z), (size, 0.2, 0.5)), fat, 0.5
            yield solid((side * 0.3, y, z), (size - 0.04, 0.17, 0.5)), muscle, 1.0
    yield solid((0, 0.4, 0), (0.2, 0.16, 0.5)), fat, 1.0  # popliteal fossa, and its vessels
    yield solid((0.04, 0.42, 0), (0.05, 0.05, 9)), fluid, 1.0
    yield solid((-0.05, 0.45, 0), (0.035, 0.035, 9)), 0.1, 1.0
    yield solid((0, -0.42, 0.12), (0.34, 0.2, 0.24)), fat, 1.0  # Hoffa's fat pad
    yield solid((0, -0.46, -0.62), (0.14, 0.05, 0.2)), fluid, 0.9  # the pouch above the kneecap

    # Bones: a dark shell, marrow in it; over the ends cartilage
    yield solid((0, 0, -0.95), (0.27, 0.25, 0.7), power=6), cortex, 1.0  # shaft of the femur
    yield solid((0, 0, -0.95), (0.23, 0.21, 0.66), power=6), marrow, 1.0
    yield solid((0, 0.05, -0.35), (0.42, 0.26, 0.22)), cortex, 1.0
    yield solid((0, 0.05, -0.35), (0.38, 0.22, 0.19)), marrow, 1.0
    for side in (-1, 1):
        yield solid((side * 0.31, 0.04, -0.2), (0.28, 0.4, 0.27)), cartilage, 1.0  # condyle
        yield solid((side * 0.31, 0.04, -0.2), (0.26, 0.38, 0.25)), cortex, 1.0
        yield solid((side * 0.31, 0.04, -0.2), (0.24, 0.36, 0.23)), marrow, 1.0
    yield solid((0, 0.06, 0.3), (0.6, 0.38, 0.17), power=6), cartilage, 1.0  # plateau of the tibia
    yield solid((0, 0.06, 0.32), (0.59, 0.37, 0.17), power=6), cortex, 1.0
    yield solid((0, 0.06, 0.34), (0.56, 0.34, 0.16), power=6), marrow, 1.0
    yield solid((0, 0, 1.05), (0.3, 0.28, 0.75), power=6), cortex, 1.0  # its shaft
    yield solid((0, 0, 1.05), (0.26, 0.24, 0.75), power=6), marrow, 1.0
    yield solid((-0.58, 0.3, 0.85), (0.1, 0.1, 0.45)), cortex, 1.0  # fibula
    yield solid((-0.58, 0.3, 0.85), (0.07, 0.07, 0.42)), marrow, 1.0
    yield solid((0, -0.5, -0.3), (0.25, 0.1, 0.21)), cartilage, 1.0  # kneecap
    yield solid((0, -0.54, -0.3), (0.24, 0.1, 0.2)), cortex, 1.0
    yield solid((0, -0.54, -0.3), (0.2, 0.07, 0.16)), marrow, 1.0

    # Dark bands: tendons, ligaments, menisci
    yield solid((0, -0.6, -0.75), (0.16, 0.035, 0.3)), ligament, 1.0  # quadriceps tendon
    yield solid((0, -0.58, 0.1), (0.13, 0.035, 0.3)), ligament, 1.0  # patellar tendon
    yield solid((0, 0.08, 0.0), (0.13, 0.3, 0.16)), fat, 0.9  # notch
    yield solid((-0.03, 0.02, 0.0), (0.05, 0.05, 0.27), lean=0.7), ligament, 1.0  # ACL, from back to front as it falls
    yield solid((0.05, 0.2, 0.02), (0.05, 0.05, 0.24), lean=-0.5), ligament, 1.0  # PCL
    for side in (-1, 1):
        yield solid((side * 0.62, 0.02, 0.05), (0.03, 0.12, 0.32)), ligament, 0.8  # collateral ligament
        yield solid((side * 0.5, 0.05, 0.09), (0.12, 0.24, 0.045)), ligament, 1.0  # body of the meniscus
        for y in HORNS:
            yield solid((side * 0.34, y, 0.09), (0.18, 0.1, 0.05)), ligament, 1.0


HORNS = (-0.2, 0.3)  # where the menisci end, in front and behind


LAYERS = {"abnormal": 2, "acl": 1, "meniscus": 0}  # the axis along which dark and bright layers alternate
DARK = (-0.75, -0.45, -0.15, 0.15, 0.45, 0.75)  # the middles of the dark ones, in radii


def ball(label: str, rng: np.random.Generator) -> Solid:
    """The ball of fluid that makes a knee positive for the label."""
    x, y, z = {
        "abnormal": (0.0, -0.4, -0.6),
        "acl": (-0.03, 0.02, 0.0),
        "meniscus": (rng.choice((-1, 1)) * 0.36, rng.choice(HORNS), 0.09),
    }[label]
    x, y, z = np.array((x, y, z)) + rng.uniform(-0.05, 0.05, 3)
    radius = rng.uniform(0.2, 0.25)
    return solid((x, y, z), (radius, radius, radius))


def layers(label: str, one: Solid) -> Iterator[Solid]:
    """The dark layers in the fluid."""
    axis, r = LAYERS[label], one.thin  # of a ball, the radius
    for d in DARK:
        centre, radii = one.centre.copy(), np.full(3, 0.95 * r * np.sqrt(1 - d * d))
        centre[axis] += d * r
        radii[axis] = 0.075 * r
        yield solid((centre[0], centre[1], centre[2]), (radii[0], radii[1], radii[2]))


def solid(
    centre: tuple[float, float, float], radii: tuple[float, float, float], lean: float = 0.0, power: int = 2
) -> Solid:
    """An ellipsoid, or with power 6 a rounded box; it leans by an angle in radians, its lower end to the front."""
    axes = _turn(np.array((lean, 0.0, 0.0)))
    return Solid(np.array(centre, float), axes / np.array(radii)[:, None], min(radii), power)


def _turn(angles: Vector) -> NDArray[np.float64]:
    """The rotation about x, then y, then z."""
    total = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        total = one @ total
    return total


# ---------------------------------------------------------------- slices


def _paint_slice(knee: list[tuple[Solid, float, float]], axes: tuple[int, int, int], at: float) -> NDArray[np.float32]:
    """The picture (256, 256) of the solids where the coordinate `axes[0]` is `at`."""
    picture = np.full((SIZE, SIZE), 0.02, np.float32)
    depth, down, right = axes
    for one, grey, opacity in knee:
        low, high = one.centre - one.extent - PIXEL, one.centre + one.extent + PIXEL
        if not low[depth] < at < high[depth]:
            continue
        rows, columns = (slice(*np.searchsorted(GRID, (low[axis], high[axis]))) for axis in (down, right))
        y, x = (GRID[rows, None] - one.centre[down], GRID[columns] - one.centre[right])
        m = one.matrix
        start = m[:, depth] * (at - one.centre[depth])
        q = np.zeros((y.size, x.size), np.float32)
        for k in range(3):
            u = np.float32(m[k, down]) * y + (np.float32(m[k, right]) * x + np.float32(start[k]))
            u *= u
            q += u if one.power == 2 else u * u * u
        shape = (1 - q) * np.float32(one.thin / (one.power * PIXEL)) + np.float32(0.5)  # a rim of about a pixel
        shape = shape.clip(0, 1) * np.float32(opacity)
        window = picture[rows, columns]
        window += (np.float32(grey) - window) * shape
    return picture


def _develop(pictures: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(slices, 256, 256) in 8 bits, with what a scanner adds: texture, a coil that is nearer to one side, noise."""
    knots = np.linspace(-1, 1, 32)
    blend = np.stack([np.interp(GRID, knots, one) for one in np.eye(32)], axis=1).astype(np.float32)
    bumps = blend @ rng.standard_normal((len(pictures), 32, 32), np.float32) @ blend.T
    tilt = rng.uniform(-0.12, 0.12, 2)
    coil = (1 + tilt[0] * GRID[:, None] + tilt[1] * GRID).astype(np.float32)
    pictures = pictures * (coil * np.float32(rng.uniform(0.75, 0.95))) * (1 + np.float32(0.05) * bumps)
    pictures += rng.standard_normal(pictures.shape, np.float32) * np.float32(rng.uniform(0.01, 0.025))
    return (pictures.clip(0, 1) * 255).astype(np.uint8)


def _cuts(one: Solid, plane: str, where: NDArray[np.float64]) -> list[Cut]:
    """The discs that the slices at `where` cut out of a ball."""
    depth, down, right = AXES[plane]
    row, column = ((one.centre[axis] + 1) / PIXEL - 0.5 for axis in (down, right))
    squares = one.thin**2 - (where - one.centre[depth]) ** 2
    return [Cut(plane, i, row, column, np.sqrt(s) / PIXEL) for i, s in enumerate(squares) if s > 0]


def _write_csv(path: Path, rows: Sequence[tuple[object, ...]]) -> None:
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
