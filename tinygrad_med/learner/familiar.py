"""Has a network seen anything like this? Probabilities can't say: they add up to 1 for whatever it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_med.backend import to_numpy
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.learner.learner import Learner
from tinygrad_med.ops import mean


class Familiar:
    """How far an image is from all that a network has learned from; a rule that one could follow with a pencil.

    An image's features are the means of the channels that leave the body. Its distance is that to the nearest training
    image, as 1 − the cosine of the angle between their features.

    Attributes:
        known: (N, C), the features of the training images, of length 1.
        threshold: the largest distance of a validation image; what is farther away is unfamiliar.

    Args:
        learn: of a model whose first part is its body, with outputs (N, C, H, W), as `vision_learner` makes it.
    """

    def __init__(self, learn: Learner) -> None:
        self.learn = learn
        self.known = self.features(learn.dls.test_dl(learn.dls.train.dataset.images.files))
        self.threshold = float(self.distances(learn.dls.valid).max())

    def features(self, dl: Any) -> np.ndarray:
        """(N, C), of length 1."""
        body = self.learn.model.eval()[0]  # type: ignore[index]
        parts = []
        with no_grad():
            for x, *_ in dl:
                parts.append(to_numpy(mean(body(*self.learn.tensors([x])), dim=[2, 3]).array))
        found = np.concatenate(parts)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def distances(self, dl: Any) -> np.ndarray:
        """(N,), to the nearest training image."""
        return 1 - (self.features(dl) @ self.known.T).max(1)

    def is_familiar(self, dl: Any) -> np.ndarray:
        """(N,), whether each is as near as the validation images are."""
        return self.distances(dl) <= self.threshold
