"""The face of fastai's vision: `from tinygrad_med.vision.all import *`."""
