"""torchvision's `transforms`: from a picture to what a network gets, in steps that are put together by `Compose`.

    prepare = transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])

Names, arguments and numbers are torchvision's; pictures are Pillow's, and so is what is done to them. Random choices
follow `manual_seed`, and, within a `DataLoader`, the loader's generator. `tinygrad_med.data.transforms` has fastai's.
"""

from tinygrad_med.engine.errors import answers
from tinygrad_med.transforms import functional as functional
from tinygrad_med.transforms.chance import (
    ColorJitter as ColorJitter,
    GaussianBlur as GaussianBlur,
    RandomAdjustSharpness as RandomAdjustSharpness,
    RandomAffine as RandomAffine,
    RandomApply as RandomApply,
    RandomAutocontrast as RandomAutocontrast,
    RandomChoice as RandomChoice,
    RandomCrop as RandomCrop,
    RandomEqualize as RandomEqualize,
    RandomErasing as RandomErasing,
    RandomGrayscale as RandomGrayscale,
    RandomHorizontalFlip as RandomHorizontalFlip,
    RandomInvert as RandomInvert,
    RandomOrder as RandomOrder,
    RandomPosterize as RandomPosterize,
    RandomResizedCrop as RandomResizedCrop,
    RandomRotation as RandomRotation,
    RandomSolarize as RandomSolarize,
    RandomVerticalFlip as RandomVerticalFlip,
)
from tinygrad_med.transforms.fixed import (
    CenterCrop as CenterCrop,
    Compose as Compose,
    ConvertImageDtype as ConvertImageDtype,
    FiveCrop as FiveCrop,
    Grayscale as Grayscale,
    Lambda as Lambda,
    Normalize as Normalize,
    Pad as Pad,
    PILToTensor as PILToTensor,
    Resize as Resize,
    TenCrop as TenCrop,
    ToPILImage as ToPILImage,
    ToTensor as ToTensor,
)
from tinygrad_med.transforms.functional import InterpolationMode as InterpolationMode

__getattr__ = answers(globals(), "Lambda takes a function of yours")
