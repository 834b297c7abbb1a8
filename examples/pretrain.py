"""Train a ResNet-18 from scratch on the 58,954 images of Medical MNIST, for transfer learning without a network.

    python examples/pretrain.py [--data <folder or zip>]

One epoch over four fifths of the images, at 64×64 in three equal channels, takes about seven minutes on two quiet
cores, and ends above 99% of correct answers on the other fifth. The weights come to lie in the user's cache folder,
where `examples/radiographs.py` finds them; those learned from phantoms, where there are no images, under a name of
their own. Every hundred steps the state is saved; a run that was broken off goes on from there, and ends with the same
weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_med as torch
from tinygrad_med import models, optim
from tinygrad_med._files import cache_folder, optional, writing
from tinygrad_med.data import medical_mnist
from tinygrad_med.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from tinygrad_med.learner.schedules import combined_cos, one_cycle
from tinygrad_med.learner.state import facts_of, restore, snapshot
from tinygrad_med.nn import functional as F

MEAN = np.array(IMAGENET_MEAN, np.float32).reshape(3, 1, 1)
STD = np.array(IMAGENET_STD, np.float32).reshape(3, 1, 1)
SAVE_EVERY = 100  # steps


def batch_of(data: medical_mnist.Images, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 64, 64), normalized, and their labels (N,)."""
    grey = data.images[indices][:, None].astype(np.float32) / 255
    return torch.from_numpy((grey - MEAN) / STD), torch.from_numpy(data.labels[indices])


def validate(model: models.ResNet, data: medical_mnist.Images, indices: np.ndarray) -> float:
    """The share of correct answers."""
    tqdm = optional("tqdm", "the progress bar")
    model.eval()
    correct = 0
    with torch.no_grad():
        for start in tqdm.trange(0, len(indices), 128, desc="validating", unit="batch"):
            x, y = batch_of(data, indices[start : start + 128])
            correct += int((model(x).argmax(1) == y).sum().item())
    return correct / len(indices)


def pretrain(
    data: medical_mnist.Images,
    weights: Path,
    *,
    steps: int | None = None,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
) -> dict[str, Any]:
    """Train, and write `weights` (.safetensors) and beside it a .json with what came out; returns the latter.

    Args:
        data: the images.
        weights: where to.
        steps: how many batches, at most one epoch, which is the default.
        batch_size, lr: of AdamW; the rate and the momentum go through one cycle.
        seed: of the weights at the start, of the split and of the order of the images.

    Raises:
        ValueError: where a run with other data or other arguments was broken off.
    """
    tqdm = optional("tqdm", "the progress bar")
    train, valid = medical_mnist.split(len(data), seed=seed)
    steps = len(train) // batch_size if steps is None else steps
    torch.manual_seed(seed)
    model = models.resnet18(num_classes=len(data.classes))
    optimizer = optim.AdamW(model.parameters(), betas=(0.95, 0.99), eps=1e-5, weight_decay=0.01)
    rate, momentum = one_cycle(lr), combined_cos(0.25, 0.95, 0.85, 0.95)

    run = {"data": data.source, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed}
    checkpoint = weights.with_name(f"{weights.stem}-unfinished.safetensors")
    done = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        done = facts_of(saved, run, checkpoint)["step"]
        restore(saved, model, optimizer)
    started, losses = time.perf_counter(), []
    with tqdm.tqdm(total=steps, initial=done, desc="pretraining", unit="step") as bar:
        for step in range(done, steps):
            [group] = optimizer.param_groups
            group["lr"], group["betas"] = rate(step / steps), (momentum(step / steps), 0.99)
            x, y = batch_of(data, train[step * batch_size : (step + 1) * batch_size])
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.4f}")
            if (step + 1) % SAVE_EVERY == 0:
                torch.save(snapshot(model, optimizer, {**run, "step": step + 1}), checkpoint)
    seconds = time.perf_counter() - started

    accuracy = validate(model, data, valid)
    torch.save(model.state_dict(), weights)
    facts = {
        **run,
        "validation_accuracy": accuracy,
        "validation_images": len(valid),
        "seconds_of_the_last_run": round(seconds),
    }
    with writing(weights.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(facts, indent=2), "utf-8")
    checkpoint.unlink(missing_ok=True)
    return facts


def weights_file(seed: int = 0, data: str = "medical-mnist") -> Path:
    """Where the weights lie, or will; `data` is `"medical-mnist"` or `"phantoms"`."""
    folder = cache_folder() / "models"
    folder.mkdir(exist_ok=True)
    return folder / f"resnet18-{data}-{seed}.safetensors"


def is_there(weights: Path) -> bool:
    """Whether there is nothing to do, and if so, say it."""
    facts = weights.with_suffix(".json")
    if not facts.exists():
        return False
    print(f"{weights} is there already, from {json.loads(facts.read_text('utf-8'))['data']}; delete it to train again")
    return True


def main() -> int:
    """Pretrain, unless it has been done; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", help="Medical MNIST: a folder or a zip; by default what was decoded last, or a download"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    weights = weights_file(options.seed)
    if is_there(weights):
        return 0
    try:
        data = medical_mnist.load(options.data)
        if data.is_phantom:
            weights = weights_file(options.seed, "phantoms")
            if is_there(weights):
                return 0
        facts = pretrain(data, weights, seed=options.seed)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{facts['validation_accuracy']:.2%} of {facts['validation_images']:,} validation images correct -> {weights}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
