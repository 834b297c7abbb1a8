"""Generated scans in the six classes of Medical MNIST, for machines where the real images cannot be had.

The classes are named and ordered as in the real data set. Each is a short function that paints anatomy from back to
front, with ellipses mostly: a slice of a head is a bright ellipse (skull), a grey one in it (brain), four slender dark
ones (ventricles). Knows nothing of files, and nothing of medicine beyond what an ellipse can say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tinygrad_med.data.phantoms.canvas import BLOCK, SIZE, Canvas, Number, Pictures, one_if


def generate(per_class: int = 2000, seed: int = 0) -> tuple[Pictures, NDArray[np.int64]]:
    """Paint `per_class` phantoms of each of the six classes, in about half a millisecond each on one core.

    Returns:
        images: (6 · per_class, 64, 64) uint8, sorted by class
        labels: (6 · per_class,) int64, the place of the image's class in `PAINTERS`

    Same seed, same bits: each block of patients has a stream of random numbers of its own, whichever thread paints it.
    So the first phantoms of a class are also the same, however many are asked for.
    """
    if per_class < 1:
        raise ValueError(f"phantoms.generate: per_class is {per_class}; ask for at least one phantom of each class")
    images = np.empty((len(PAINTERS), per_class, SIZE, SIZE), np.uint8)
    painters = list(PAINTERS.values())

    def paint(block: tuple[int, int]) -> None:
        label, start = block
        canvas = Canvas(np.random.default_rng((seed, label, start)))
        part = images[label, start : start + BLOCK]
        part[:] = painters[label](canvas)[: len(part)]

    with ThreadPoolExecutor() as pool:  # NumPy lets go of the interpreter while it computes
        list(pool.map(paint, itertools.product(range(len(painters)), range(0, per_class, BLOCK))))
    return images.reshape(-1, SIZE, SIZE), np.repeat(np.arange(len(painters)), per_class)


def abdomen_ct(c: Canvas) -> Pictures:
    """An axial slice between the dome of the liver and the hips, the grey of air well above black."""
    air = c.between(0.35, 0.41)
    fat, muscle, organ, bone = air + 0.06, air + 0.17, air + 0.26, air + 0.5
    level = c.between(0, 3)
    liver, kidneys, pelvis = one_if(level < 1.0), one_if((level > 0.8) & (level < 2.0)), one_if(level > 2.0)
    c.pixels += air
    c.pose(shift=0.16, turn=0.25, zoom=(0.65, 1.15))
    table(c, air)

    wide, deep = c.between(0.75, 0.9), c.between(0.48, 0.62)
    c.ellipse(0, 0, wide, deep, fat)
    c.ellipse(0, 0.02, wide - 0.08, deep - 0.08, muscle)
    c.ellipse(0, 0, wide - 0.13, deep - 0.13, fat)  # the peritoneal cavity
    for side in (-1, 1):
        c.ellipse(side * 0.2, 0.36, 0.17, 0.13, muscle)  # erector spinae
        c.ellipse(side * 0.19, 0.2, 0.09, 0.12, muscle, opacity=1 - liver)  # psoas
    for _ in range(7):  # loops of bowel, some full of contrast, some of gas
        x, y, size = c.between(-0.45, 0.45), c.between(-0.22, 0.1), c.between(0.05, 0.12)
        c.ellipse(x, y, size, size * c.between(0.6, 1.4), air + c.between(0, 0.4), opacity=1 - 0.8 * liver)

    c.paint(c.inside(-0.33, -0.08, 0.36, 0.34, 0.2), organ + 0.02 * c.texture(12), liver)
    c.ellipse(0.33, -0.2, 0.25, 0.17, air + c.between(0, 0.15), -0.4, liver)  # stomach
    c.ellipse(0.52, 0.14, 0.12, 0.2, organ, -0.5, liver)  # spleen
    for side in (-1, 1):
        c.ellipse(side * 0.36, 0.14, 0.11, 0.14, organ + 0.15, side * 0.5, kidneys)
        c.ellipse(side * 0.32, 0.13, 0.04, 0.06, muscle, side * 0.5, kidneys)
        c.ellipse(side * 0.42, 0.08, 0.05, 0.3, bone, side * 0.6, pelvis)  # wing of the ilium
        c.ellipse(side * 0.42, 0.08, 0.02, 0.26, organ, side * 0.6, pelvis)
    ribs(c, wide - 0.08, deep - 0.08, bone, opacity=liver)
    vertebra(c, 0, 0.22, bone)
    c.ellipse(0.04, 0.05, 0.05, 0.05, organ + c.between(0, 0.3))  # aorta
    c.ellipse(-0.08, 0.06, 0.06, 0.045, organ)  # inferior vena cava
    return c.develop(noise=0.03)


def breast_mri(c: Canvas) -> Pictures:
    """An axial slice, prone and shown upside up: fat is bright, the chest is dark and cut off below."""
    fat = 0.6 + c.between(0, 0.35)
    c.pose(shift=0.2, turn=0.15, zoom=(0.7, 1.15))
    apart, size, length = c.between(0.38, 0.48), c.between(0.2, 0.32), c.between(0.15, 0.75)
    c.ellipse(0, 0.65, 0.88, 0.6, fat, rim=2)
    for side in (-1, 1):
        lean = side * c.between(-0.05, 0.2)
        own = length * c.between(0.8, 1.2)
        c.ellipse(side * apart, 0.35, size, own + 0.15, fat, lean, boxy=True, rim=2)
        gland = c.inside(side * (apart + 0.02), 0.25 - 0.6 * own, 0.55 * size, 0.5 * own + 0.05, lean, rim=3)
        c.paint(gland * c.texture(14).clip(0, 1), 0.2)
    c.ellipse(0, 0.8, 0.78, 0.62, 0.3)  # chest wall: muscle, ribs
    c.paint(c.inside(0, 0.8, 0.72, 0.56), 0.06 + 0.05 * c.texture(20))  # lungs
    c.paint(c.inside(0.12, 0.62, 0.26, 0.22), c.between(0.1, 0.4) + 0.08 * c.texture(14))  # heart
    c.ellipse(0, 0.2, 0.1, 0.04, 0.5)  # sternum
    c.ellipse(0, 1.7, 3, c.between(0.75, 1.1), 0, boxy=True)  # the field of view ends here
    c.pixels *= 1 + 0.2 * c.texture(3)  # the coil is not equally near to everything
    return c.develop(noise=0.03, exposure=0.2)


def cxr(c: Canvas) -> Pictures:
    """A radiograph from the front: bones and soft tissue add up, air lets the beam through."""
    tissue = 0.5 + c.between(0, 0.25)
    c.pixels += c.between(0, 0.2)
    c.pose(shift=0.2, turn=0.2, zoom=(0.8, 1.3))
    c.ellipse(0, 0.6, 0.88, 1.2, tissue, boxy=True, rim=2)  # trunk
    c.ellipse(0, -0.9, 0.25, 0.6, tissue, boxy=True, rim=3)  # neck
    for side in (-1, 1):
        c.ellipse(side * 0.5, -0.4, 0.5, 0.28, tissue, side * 0.3, rim=2)  # shoulder
        c.ellipse(side * 0.95, 0.2, 0.14, 0.9, tissue, side * -0.1, 0.8, rim=2)  # arm

    clear = c.between(0.12, 0.35)
    dome = c.between(0.35, 0.6)  # height of the diaphragm
    for side in (-1, 1):
        lung = c.inside(side * 0.4, 0.0, 0.3, 0.8, side * 0.1, rim=3)
        x, y = c.frame(side * 0.4, 0)
        ribs = one_if(np.cos(24 * (y - side * 0.6 * x + x * x)) > 0.4)  # falling towards the flank
        c.paint(lung, clear + 0.03 * c.texture(24) + 0.12 * ribs)
        c.ellipse(side * 0.15, 0.0, 0.16, 0.25, tissue, opacity=0.7, rim=6)  # hilum
        c.ellipse(side * 0.4, dome + 0.5 + side * 0.04, 0.47, 0.5, tissue + 0.2, rim=2)  # dome of the diaphragm
        c.ellipse(side * 0.42, -0.62, 0.3, 0.03, tissue + 0.15, side * -0.2, 0.6)  # clavicle
    c.ellipse(0, 0.1, 0.12, 1.2, tissue + 0.15, opacity=0.8, boxy=True, rim=3)  # spine and mediastinum
    c.ellipse(0, -0.7, 0.04, 0.3, clear, opacity=0.5, rim=2)  # trachea
    c.ellipse(0.1, -0.25, 0.1, 0.12, tissue + 0.1, opacity=0.8, rim=3)  # aortic arch
    c.ellipse(0, dome + 1.15, 0.85, 0.9, tissue + 0.2, boxy=True, rim=3)  # abdomen
    heart = c.between(0.22, 0.34)
    c.ellipse(0.13, 0.3, heart, heart + 0.08, tissue + 0.2, -0.6, 0.9, rim=4)
    marker(c, 0.8, -0.85)
    return c.develop(noise=0.03, exposure=0.2)


def chest_ct(c: Canvas) -> Pictures:
    """An axial slice between the shoulders and the heart, the grey of air well above black."""
    air = c.between(0.48, 0.54)
    fat, muscle, blood, bone = air + 0.06, air + 0.15, air + c.between(0.2, 0.4), air + 0.5
    level = c.between(0, 1)
    high, low = one_if(level < 0.3), one_if(level > 0.5)
    c.pixels += air
    c.pose(shift=0.16, turn=0.25, zoom=(0.65, 1.15))
    table(c, air)

    wide, deep = c.between(0.75, 0.9), c.between(0.48, 0.62)
    for side in (-1, 1):
        c.ellipse(side * 0.8, 0.1, 0.2, 0.22, muscle, opacity=high)  # shoulder
        c.ellipse(side * 0.8, 0.08, 0.07, 0.07, bone, opacity=high)
    c.ellipse(0, 0, wide, deep, fat)
    c.ellipse(0, 0, wide - 0.05, deep - 0.05, muscle)
    for side in (-1, 1):
        lung = c.inside(side * 0.36, -0.02, 0.2 + 0.14 * level, (0.3 + 0.12 * level), side * -0.2)
        c.paint(lung, air)
        c.paint(lung * (c.texture(24) > 1.0), muscle, 0.7)  # vessels
        c.ellipse(side * 0.6, 0.34, 0.03, 0.2, bone, side * 0.9, 1 - low)  # scapula
    c.ellipse(0, -0.05, 0.15, 0.3, muscle)  # mediastinum
    c.paint(c.inside(0.1, -0.12, 0.3, 0.22, 0.4), blood + 0.02 * c.texture(10), low)  # heart
    c.ellipse(-0.03, -0.15, 0.08, 0.08, blood, opacity=1 - low)  # ascending aorta
    c.ellipse(-0.01, 0.02, 0.045, 0.045, air, opacity=1 - low)  # trachea
    c.ellipse(0.1, 0.17, 0.06, 0.06, blood)  # descending aorta
    ribs(c, wide - 0.08, deep - 0.08, bone)
    c.ellipse(0, -deep + 0.09, 0.12, 0.03, bone)  # sternum
    vertebra(c, 0, 0.3, bone)
    return c.develop(noise=0.04)


def hand(c: Canvas) -> Pictures:
    """A radiograph of a left hand, fingers up, on a dark field or, over-exposed, on a grey one."""
    field = c.between(0, 0.12) + 0.5 * c.some(0.15)
    flesh = field + c.between(0.3, 0.45)
    bone = flesh + c.between(0.2, 0.4)
    c.ellipse(0, 0, c.between(0.7, 1.3), c.between(0.9, 1.3), field, c.between(-0.1, 0.1), boxy=True)
    c.pose(shift=0.16, turn=0.4, zoom=(0.85, 1.25))

    spread = c.between(0.7, 1.3)
    little, ring, middle = (-0.27, 0.1, 0.45, -0.35), (-0.1, 0.1, 0.58, -0.12), (0.06, 0.1, 0.62, 0.05)
    index, thumb = (0.22, 0.1, 0.56, 0.22), (0.3, 0.3, 0.5, 0.85)
    fingers = [(x, y, length, spread * turn) for x, y, length, turn in (little, ring, middle, index, thumb)]
    c.ellipse(0, 0.9, 0.2, 0.6, flesh, boxy=True)  # forearm
    c.ellipse(0, 0.22, 0.32, 0.3, flesh, boxy=True)  # palm
    for x, y, length, turn in fingers:
        rod(c, x, y, turn, (-0.3 * length, length), 0.085, flesh, boxy=True)
    for x, y, length, turn in fingers:
        for start, end in ((-0.6, -0.02), (0.02, 0.45), (0.48, 0.74), (0.77, 0.95)):  # metacarpal, three phalanges
            rod(c, x, y, turn, (start * length, end * length), 0.042, bone)
    for x, y in ((-0.12, 0.5), (0.02, 0.47), (0.14, 0.49), (-0.05, 0.58), (0.1, 0.59)):
        c.ellipse(x, y, 0.075, 0.06, bone)  # carpals
    c.ellipse(0.08, 0.95, 0.075, 0.3, bone)  # radius
    c.ellipse(-0.1, 0.98, 0.055, 0.3, bone)  # ulna

    marker(c, -0.75, 0.5)
    return c.develop(noise=0.04, exposure=0.2)


def head_ct(c: Canvas) -> Pictures:
    """An axial slice between the orbits and the top of the skull."""
    level = c.between(0, 1)
    low, middle = one_if(level < 0.3), one_if((level > 0.3) & (level < 0.75))
    c.pixels += c.between(0.05, 0.15)
    rest = c.inside(0, -0.2, 0.92, 1.0, boxy=True) - c.inside(0, -0.2, 0.88, 0.96, boxy=True)
    _, below = c.frame(0, 0)
    c.paint(rest * (below > 0.2), 0.5, c.some(0.6))
    c.pose(shift=0.16, turn=0.4, zoom=(0.7, 1.15))
    wide, long = 0.6 - 0.3 * level**4, 0.75 - 0.35 * level**4
    skull = c.between(0.05, 0.09) + 0.06 * level**4
    c.ellipse(0, 0, wide + 0.05, long + 0.05, 0.3)  # scalp
    c.ellipse(0, 0, wide, long, 1.0)
    brain = c.inside(0, 0, wide - skull, long - skull)
    c.paint(brain, c.between(0.35, 0.5) + 0.04 * c.texture(16))
    c.ellipse(0, 0, 0.025, 0.9 * (long - skull), 0.6, opacity=1 - low)  # falx
    for side in (-1, 1):
        c.ellipse(side * 0.1, -0.18, 0.05, 0.16, 0.22, side * -0.35, middle)  # lateral ventricle, in front
        c.ellipse(side * 0.14, 0.2, 0.045, 0.18, 0.22, side * 0.35, middle)  # and behind
        c.ellipse(side * 0.28, -0.5, 0.2, 0.22, 1.0, side * 0.5, low)
        c.ellipse(side * 0.28, -0.52, 0.15, 0.18, 0.12, side * 0.5, low)  # orbit
        c.ellipse(side * 0.28, -0.58, 0.1, 0.1, 0.42, opacity=low)  # eye
        c.ellipse(side * 0.33, 0.0, 0.25, 0.07, 1.0, side * 0.5, low)  # petrous bone
    c.ellipse(0, -0.5, 0.09, 0.24, 1.0, opacity=low)
    c.ellipse(0, -0.5, 0.06, 0.2, 0.0, opacity=low)  # ethmoid cells, full of air
    return c.develop(noise=0.03)


# Parts that several pictures share


def rod(
    c: Canvas,
    x: Number,
    y: Number,
    turn: Number,
    ends: tuple[float, float],
    width: float,
    grey: Number,
    *,
    boxy: bool = False,
) -> None:
    """A slender shape on the line that leaves (x, y) upwards, turned to the right: from one distance to another."""
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    c.ellipse(x + middle * np.sin(turn), y - middle * np.cos(turn), width, half, grey, turn, boxy=boxy)


def marker(c: Canvas, x: float, y: float) -> None:
    """The leaden L that names the patient's left, on most films."""
    c.pose(shift=0.1, turn=0.2, zoom=(0.8, 1.1))
    there = c.some(0.7)
    c.ellipse(x, y, 0.03, 0.1, 0.95, opacity=there, boxy=True)
    c.ellipse(x + 0.05, y + 0.08, 0.07, 0.03, 0.95, opacity=there, boxy=True)


def table(c: Canvas, air: Number) -> None:
    """The scanner's table, a thin arc under the patient."""
    arc = c.inside(0, -0.6, 1.6, 1.35) - c.inside(0, -0.6, 1.56, 1.31)
    _, y = c.frame(0, 0)
    c.paint(arc * (y > 0.3), air + c.between(0.05, 0.3))


def ribs(c: Canvas, wide: Number, deep: Number, bone: Number, opacity: Number = 1.0) -> None:
    """A ring of dashes along the wall, an ellipse of half-axes `wide` and `deep`."""
    ring = c.inside(0, 0, wide, deep) - c.inside(0, 0, wide - 0.05, deep - 0.05)
    x, y = c.frame(0, 0, 0, wide, deep)
    angle = y / (np.abs(x) + np.abs(y) + 1e-3)  # -1 in front, 0 at the flanks, 1 at the back
    c.paint(ring * (np.cos(4 * np.pi * angle + c.between(-0.8, 0.8)) < -0.2), bone, opacity)


def vertebra(c: Canvas, x: Number, y: Number, bone: Number) -> None:
    """Body, arch around the canal, spinous and transverse processes."""
    c.ellipse(x, y + 0.16, 0.22, 0.03, bone)
    c.ellipse(x, y + 0.2, 0.03, 0.12, bone)
    c.ellipse(x, y + 0.13, 0.1, 0.08, bone)
    c.ellipse(x, y, 0.14, 0.11, bone)
    c.ellipse(x, y, 0.1, 0.07, bone - 0.15)
    c.ellipse(x, y + 0.13, 0.05, 0.045, bone - 0.35)


PAINTERS: dict[str, Callable[[Canvas], Pictures]] = {
    "AbdomenCT": abdomen_ct,
    "BreastMRI": breast_mri,
    "CXR": cxr,
    "ChestCT": chest_ct,
    "Hand": hand,
    "HeadCT": head_ct,
}
