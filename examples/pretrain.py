"""Train a ResNet-18 from scratch on the 58,954 images of Medical MNIST, for transfer learning without a network.

    python examples/pretrain.py [--data <folder or zip>]
    python examples/pretrain.py --resume                    # after Ctrl-C
    mpirun -n 4 python examples/pretrain.py --data-parallel # four processes share each batch

One epoch over four fifths of the images, at 64×64 in three equal channels, takes about seven minutes on two quiet
cores, and ends above 99% of correct answers on the other fifth. The weights are written to the user's cache folder,
where `examples/radiographs.py` finds them; those learned from phantoms, where there are no images, under a name of
their own. Every hundred steps the state is saved; a run that was broken off goes on from there, and ends with the same
weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import command
import numpy as np

import tinygrad_med as torch
from tinygrad_med import models, optim
from tinygrad_med._files import cache_folder, optional, writing
from tinygrad_med.data import medical_mnist
from tinygrad_med.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from tinygrad_med.learner.schedules import combined_cos, one_cycle
from tinygrad_med.nn import functional as F
from tinygrad_med.parallel import Ranks, SyncBatchNorm

MEAN = np.array(IMAGENET_MEAN, np.float32).reshape(3, 1, 1)
STD = np.array(IMAGENET_STD, np.float32).reshape(3, 1, 1)
SAVE_EVERY = 100  # steps


def batch_of(data: medical_mnist.Images, indices: np.ndarray, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 64, 64), normalized, and their labels (N,)."""
    grey = data.images[indices][:, None].astype(np.float32) / 255
    return torch.tensor((grey - MEAN) / STD, device=device), torch.tensor(data.labels[indices], device=device)


def validate(
    model: models.ResNet,
    data: medical_mnist.Images,
    indices: np.ndarray,
    device: str = "cpu",
    ranks: Ranks | None = None,
) -> float:
    """The share of correct answers; several processes look at a part of the images each."""
    tqdm, ranks = optional("tqdm", "the progress bar"), ranks or Ranks()
    ranks.broadcast(model)  # without --sync-batchnorm each has statistics of its own: those of rank 0 count
    model.eval()
    correct, own = 0, indices[ranks.share(len(indices)).rows]
    with torch.no_grad():
        for start in tqdm.trange(0, len(own), 128, desc="validating", unit="batch", disable=None):
            x, y = batch_of(data, own[start : start + 128], device)
            correct += int((model(x).argmax(1) == y).sum().item())
    return int(ranks.sum(np.array(0 if ranks.idle else correct))) / len(indices)


def pretrain(data: medical_mnist.Images, options: argparse.Namespace) -> command.Run:
    """Train; leaves the weights, and beside them a .json with what came out, unless it was interrupted."""
    tqdm, ranks = optional("tqdm", "the progress bar"), options.ranks
    train, valid = medical_mnist.split(len(data), seed=options.seed)
    steps = options.steps or len(train) // options.batch_size
    torch.manual_seed(options.seed)
    model = models.resnet18(num_classes=len(data.classes)).to(device=options.device)
    if options.sync_batchnorm:
        SyncBatchNorm.convert_sync_batchnorm(model, ranks)
    optimizer = optim.AdamW(model.parameters(), betas=(0.95, 0.99), eps=1e-5, weight_decay=0.01)
    rate, momentum = one_cycle(options.lr), combined_cos(0.25, 0.95, 0.85, 0.95)

    plan = {"data": data.source, "steps": steps, **{n: getattr(options, n) for n in ("batch_size", "lr", "seed")}}
    run = command.Run(options, plan, model, optimizer=optimizer)
    done = run.load().get("step", 0)
    ranks.broadcast(model)
    losses: list[float] = []
    bar = tqdm.tqdm(total=steps, initial=done, desc="pretraining", unit="step", disable=not run.writes)
    with run.until_interrupted(), bar, ranks.summing(model.parameters()):
        for step in range(done, steps):
            [group] = optimizer.param_groups
            group["lr"], group["betas"] = rate(step / steps), (momentum(step / steps), 0.99)
            rows = train[step * options.batch_size : (step + 1) * options.batch_size]
            part = ranks.share(len(rows))
            x, y = batch_of(data, rows[part.rows], options.device)
            loss = F.cross_entropy(model(x), y) * part.weight
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(ranks.sum(np.array(loss.item()))))
            command.demand_bounded(losses[-20:], f"step {step}", group["lr"], x)
            bar.update()
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.4f}")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                run.save(step=step + 1)
    if run.interrupted:
        return run.end(run.file)

    accuracy = validate(model, data, valid, options.device, ranks)
    if not run.writes:
        return run
    weights = options.weights or weights_file(options.seed, "phantoms" if data.is_phantom else "medical-mnist")
    torch.save(model.state_dict(), weights)
    facts = {**plan, "validation_accuracy": accuracy, "validation_images": len(valid)}
    with writing(weights.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(facts, indent=2), "utf-8")
    print(f"{accuracy:.2%} of {len(valid):,} validation images correct")
    return run.end(weights)


def weights_file(seed: int = 0, data: str = "medical-mnist") -> Path:
    """Where the weights lie, or will; `data` is `"medical-mnist"` or `"phantoms"`."""
    folder = cache_folder() / "models"
    folder.mkdir(exist_ok=True)
    return folder / f"resnet18-{data}-{seed}.safetensors"


def is_there(weights: Path) -> bool:
    """Whether there is nothing to do, and if so, say it."""
    facts = weights.with_suffix(".json")
    if not (weights.exists() and facts.exists()):
        return False
    print(f"{weights} is there already, from {json.loads(facts.read_text('utf-8'))['data']}; delete it to train again")
    return True


def story(options: argparse.Namespace) -> command.Run | None:
    """Pretrain, unless it has been done."""
    if not options.weights and is_there(weights_file(options.seed)):
        return None
    command.demand_work(options, options.batch_size, "images in a batch")
    with options.ranks.rank_0_first():
        data = medical_mnist.load(options.data)
    if not options.weights and data.is_phantom and is_there(weights_file(options.seed, "phantoms")):
        return None
    return pretrain(data, options)


def main(argv: list[str] | None = None) -> int:
    """The example; returns the exit status."""
    parser = command.parser(__doc__, "runs/pretrain")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="Medical MNIST: a folder or a zip; by default what was decoded last, or a download",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="where to; default: in the user's cache folder")
    parser.add_argument("--steps", type=command.positive, help="how many batches; default: one epoch")
    parser.add_argument("--batch-size", type=command.positive, default=64, help="images in a step; default: 64")
    parser.add_argument("--lr", type=command.a_rate, default=2e-3, help="the highest rate of the cycle; default: 0.002")
    command.add_data_parallel(parser, batchnorm=True)
    options = parser.parse_args(argv)
    options.out = options.out or Path("runs/pretrain")
    return command.run(story, options)


if __name__ == "__main__":
    sys.exit(main())
