"""How long does an epoch of fine-tuning on the radiographs take, loading and augmentation included?

    python benchmarks/radiographs_epoch.py [<the radiographs: zip or folder>]

Both sides take the same batches from the same loader (decode, resize to 460, one random affine to 224×224, normalize),
and train the same network (ResNet-18, unfrozen) with AdamW: 4 steps of 16 images. Without radiographs, noise of the
same size takes their place.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from timing import alternate, report

IMAGES, SIDE = 64, 512


def noise(folder: Path) -> Path:
    """As many pictures, as large as the radiographs, in two class folders."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("val", 2)):
        for i in range(count):
            file = folder / split / ("abd" if i % 2 else "chest") / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8))
            small.resize((SIDE, SIDE)).convert("RGB").save(file)
    return folder


def loader(data: Path):
    """The training batches, as arrays."""
    from tinygrad_med.data.image_loaders import ImageDataLoaders
    from tinygrad_med.data.transforms import Resize, aug_transforms

    augment = aug_transforms(size=224, min_scale=0.75)
    return ImageDataLoaders.from_folder(data, valid="val", item_tfms=Resize(460), batch_tfms=augment, bs=16).train


def ours(data: Path):
    """One epoch of `Learner`'s loop."""
    import tinygrad_med as torch
    from tinygrad_med import models, nn, optim

    torch.manual_seed(0)
    batches, model = loader(data), models.resnet18(num_classes=2)
    optimizer = optim.AdamW(model.parameters(), 1e-4)

    def work():
        for x, y in batches:
            loss = nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return work


def pytorch(data: Path):
    """The same in PyTorch, from the same weights."""
    import torch
    import torch_networks

    from tinygrad_med import models

    torch.manual_seed(0)
    weights = models.resnet18(num_classes=2).state_dict()
    batches, model = loader(data), torch_networks.ResNet18(2)
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def work():
        for x, y in batches:
            loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return work


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="the radiographs: a zip or a folder")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            from tinygrad_med.data import radiographs

            root = radiographs.load(options.data)
        else:
            root = noise(Path(folder))
        contenders = {"ours": ours(root), "PyTorch": pytorch(root)}
        epoch = alternate("4 steps of 16 at 224×224", contenders, rounds=options.rounds, bar=("ours", "PyTorch", 1.1))
    report("radiographs_epoch", __doc__.splitlines()[0], [epoch], over="PyTorch")
