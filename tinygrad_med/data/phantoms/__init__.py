"""Phantoms: generated pictures that stand in for medical images where those can't be had, with the truth known.

`generate` paints the six classes of Medical MNIST (`scans`); `lesions` paints chest radiographs with a lesion at a
known place; `knees` writes MRI exams in the layout of MRNet, with the slices and places of their lesions. `canvas`
holds what scans and radiographs are painted with. All know NumPy alone, and give the same bits for the same seed.
"""

from tinygrad_med.data.phantoms.scans import PAINTERS, generate

__all__ = ["PAINTERS", "generate"]
