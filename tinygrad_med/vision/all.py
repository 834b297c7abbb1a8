"""Everything that a fastai notebook on images uses: `from tinygrad_med.vision.all import *`.

`torch` is this package. What stands here are names; what they mean is in `data`, `models`, `learner` and `cam`.
"""

from pathlib import Path as Path

import tinygrad_med as torch  # noqa: F401 - the notebooks' `torch`
from tinygrad_med import cam as cam
from tinygrad_med import nn as nn
from tinygrad_med.data.images import get_image_files as get_image_files
from tinygrad_med.data.transforms import Normalize as Normalize
from tinygrad_med.data.transforms import Resize as Resize
from tinygrad_med.data.transforms import aug_transforms as aug_transforms
from tinygrad_med.learner import Callback as Callback
from tinygrad_med.learner import ClassificationInterpretation as ClassificationInterpretation
from tinygrad_med.learner import Learner as Learner
from tinygrad_med.learner import accuracy as accuracy
from tinygrad_med.learner import error_rate as error_rate
from tinygrad_med.models import resnet18 as resnet18
from tinygrad_med.models import resnet34 as resnet34
from tinygrad_med.tensor import Tensor as Tensor
from tinygrad_med.vision.data import ImageDataLoaders as ImageDataLoaders
from tinygrad_med.vision.data import TensorImage as TensorImage
from tinygrad_med.vision.data import first as first
from tinygrad_med.vision.hooks import Hook as Hook
from tinygrad_med.vision.hooks import hook_output as hook_output
from tinygrad_med.vision.learner import cnn_learner as cnn_learner
from tinygrad_med.vision.learner import vision_learner as vision_learner
