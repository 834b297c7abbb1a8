"""fastai's names for images: `from tinygrad_med.vision.all import *`."""
