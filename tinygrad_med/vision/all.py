"""Everything that a fastai notebook on images uses: `from tinygrad_med.vision.all import *`.

`torch` is this package. What stands here are names; what they mean is in `data`, `models`, `learner` and `cam`.
"""

from pathlib import Path as Path

import tinygrad_med as torch  # noqa: F401 - the notebooks' `torch`
from tinygrad_med import cam as cam, nn as nn
from tinygrad_med.core.tensor import Tensor as Tensor
from tinygrad_med.data.images import get_image_files as get_image_files
from tinygrad_med.data.transforms import Normalize as Normalize, Resize as Resize, aug_transforms as aug_transforms
from tinygrad_med.learner import (
    Callback as Callback,
    ClassificationInterpretation as ClassificationInterpretation,
    accuracy as accuracy,
    error_rate as error_rate,
)
from tinygrad_med.models import resnet18 as resnet18, resnet34 as resnet34
from tinygrad_med.vision.data import ImageDataLoaders as ImageDataLoaders, TensorImage as TensorImage, first as first
from tinygrad_med.vision.export import VisionLearner as VisionLearner, load_learner as load_learner
from tinygrad_med.vision.hooks import Hook as Hook, hook_output as hook_output
from tinygrad_med.vision.learner import cnn_learner as cnn_learner, vision_learner as vision_learner

Learner = VisionLearner  # the notebooks' own models can be exported too
