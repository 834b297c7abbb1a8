"""The training loop, with fastai's names and meanings.

    learn = Learner(dls, model, metrics=[accuracy])
    learn.lr_find()
    learn.fine_tune(5, 2e-3)

`_train` is the loop; the rest says with which rates it runs (`fit_one_cycle`, `fine_tune`), what may learn
(`freeze_to`), and what comes out (`validate`, `get_preds`). What else happens meanwhile, callbacks do.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import as_tensor, from_numpy
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.learner.ahead import Ahead
from tinygrad_med.learner.callbacks import Callback, CancelFit, StopAtDivergence
from tinygrad_med.learner.finder import Suggestions, find_rate
from tinygrad_med.learner.outputs import in_order, joined, loss_of_each, names_of, reading_of
from tinygrad_med.learner.progress import Progress
from tinygrad_med.learner.recorder import Recorder
from tinygrad_med.learner.schedules import Schedule, combined_cos, group_rates, one_cycle
from tinygrad_med.learner.shares import shares, together
from tinygrad_med.learner.state import Checkpoint, Order, Randomness, holds, restore, snapshot
from tinygrad_med.nn import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    LayerNorm,
    Module,
    Parameter,
    functional as F,
)
from tinygrad_med.ops import cat
from tinygrad_med.optim import AdamW, Optimizer
from tinygrad_med.parallel import Ranks, SyncBatchNorm
from tinygrad_med.serialization import load, save

NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm, GroupNorm, LayerNorm)
Metric = Callable[[Tensor, Tensor], float]
Rate = float | slice  # one for all, or `slice(first, last)` over the layer groups: see `group_rates`


def adam(groups: list[dict[str, Any]]) -> AdamW:
    """fastai's Adam: it forgets squares sooner than others do, and decays weights beside the gradient."""
    return AdamW(groups, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)


class Learner:
    """A model, data, and how the one learns from the other.

    Args:
        dls: it has `train` and `valid`, which can be gone through again and again; each yields batches, tuples (x, y)
            of arrays or tensors. `valid` may be empty, or `None`: then nothing is validated.
        model: a module; it learns on the device where it is.
        loss_func: of the model's output and y: a function, or a module such as `nn.CrossEntropyLoss(weight)`. What the
            outputs mean follows from it: see `outputs`.
        metrics: functions of all outputs and all y of the validation images, which return a number.
        lr: the default learning rate.
        splitter: from the model to its layer groups (lists of modules), the head last; by default all in one.
        opt_func: from groups of parameters to an optimizer.
        moms: the momentum at the beginning, at the top and at the end of a cycle.
        cbs: callbacks.
        train_bn: normalization layers learn even where all else is frozen.
        progress: print a table, and show a bar.
        ranks: the processes that share the work (`parallel.join()`): each learns from its part of every batch, and they
            sum their gradients. All of them must train, and look for a rate, alike; rank 0 alone prints and writes. The
            other methods are each process's own.

    Attributes:
        recorder: the numbers of the training.
        optimizer: what moves the parameters; made at the first training.
    """

    def __init__(
        self,
        dls: Any,
        model: Module,
        loss_func: Callable[..., Tensor] = F.cross_entropy,
        metrics: Metric | Sequence[Metric] = (),
        lr: float = 1e-3,
        *,
        splitter: Callable[[Any], list[list[Module]]] = lambda model: [[model]],
        opt_func: Callable[[list[dict[str, Any]]], Optimizer] = adam,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        cbs: Sequence[Callback] = (),
        train_bn: bool = True,
        progress: bool = True,
        ranks: Ranks | None = None,
    ) -> None:
        self.dls, self.model, self.loss_func, self.lr, self.moms = dls, model, loss_func, lr, moms
        self.metrics = list(metrics) if isinstance(metrics, Iterable) else [metrics]
        self.train_bn, self.first_epoch = train_bn, 0
        self.coming: Ahead | None = None  # the batches of the training that goes on
        self.ranks, self.weight = ranks or Ranks(), 1.0  # the second: of this process's part in the mean of the batch
        for name in ("train", "valid"):
            if isinstance(getattr(dls, name, None), Iterator):
                raise TypeError(
                    f"Learner: dls.{name} can be gone through only once; give a loader, or a list of batches"
                )
        self.groups = [_parameters(modules) for modules in splitter(model)]
        left_out = {id(p) for p in model.parameters()} - {id(p) for group in self.groups for p, _ in group}
        if left_out:
            raise ValueError(f"Learner: the splitter leaves out {len(left_out)} of the model's parameters")
        self.optimizer = opt_func(
            [
                {"params": chosen, "layer": layer, "decays": decays} | ({} if decays else {"weight_decay": 0.0})
                for layer, group in enumerate(self.groups)
                for decays in (True, False)
                if (chosen := [p for p, kind in group if (kind == "weight") == decays])
            ]
        )
        self.recorder = Recorder()
        shown = [Progress()] if progress and self.ranks.rank == 0 else []
        self.cbs: list[Callback] = [self.recorder, StopAtDivergence(), *shown, *cbs]

    # The loop -------------------------------------------------------------------------------------------------------

    def _train(
        self, n_epoch: int, rates: Sequence[Schedule], momentum: Schedule | None, wd: float | None = None
    ) -> None:
        """Go through the data `n_epoch` times; each layer group's rate, and the momentum, are functions of the way."""
        if n_epoch != int(n_epoch):
            raise ValueError(f"fit: {n_epoch} epochs; give a whole number")
        n_epoch = int(n_epoch)
        self.n_epoch, self.n_steps, self.first_epoch = n_epoch, n_epoch * len(self.dls.train), 0
        if self.n_steps < 1:
            raise ValueError("fit: there is nothing to train on: no epoch, or no batch")
        try:
            with self._decay(wd), self.ranks.summing(self.model.parameters()):
                self._call("before_fit")  # where a callback may set first_epoch, to go on with a training
                self.ranks.broadcast(self.model)
                self.step = self.first_epoch * len(self.dls.train)
                for epoch in range(self.first_epoch, n_epoch):
                    self.epoch = epoch
                    self.coming = self.ahead(shares(self.dls.train, self.ranks))
                    for batch, weight in self.coming:
                        self.batch, self.weight = batch, weight
                        position = self.step / self.n_steps
                        self.set_rates([rate(position) for rate in rates], momentum and momentum(position))
                        self._call("before_batch")
                        self.loss = self.one_batch(self.batch)
                        self._call("after_batch")
                        self.step += 1
                    self.ranks.broadcast(self.model)  # of a batch-norm's statistics those of rank 0 count
                    judged = self.validate(None, self.ranks) if self._validates() else self._nothing()
                    self.recorder.end_epoch(self, judged)
                    self._call("after_epoch")
        except CancelFit:
            pass
        finally:
            self.coming = None
            self._call("after_fit")

    def _validates(self) -> bool:
        valid = getattr(self.dls, "valid", None)
        return valid is not None and (not hasattr(valid, "__len__") or len(valid) > 0)

    def _nothing(self) -> list[None]:
        return [None] * (1 + len(self.metrics))

    @contextlib.contextmanager
    def _decay(self, wd: float | None) -> Iterator[None]:
        """Let weights decay by `wd` meanwhile; biases and normalizations don't decay."""
        groups = [group for group in self.optimizer.param_groups if wd is not None and group["decays"]]
        before = [group["weight_decay"] for group in groups]
        if wd is not None and not wd >= 0:
            raise ValueError(f"fit: {wd=} must not be negative")
        for group in groups:
            group["weight_decay"] = wd
        try:
            yield
        finally:
            for group, old in zip(groups, before, strict=True):
                group["weight_decay"] = old

    def one_batch(self, batch: Sequence[Any]) -> float:
        """Learn from one batch, or this process's part of it; returns the loss of the whole batch."""
        x, y = self.tensors(batch)
        self.model.train()
        loss = self.loss_func(self.model(x), y)
        if self.ranks.size > 1:
            loss = loss * self.weight
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.coming is not None:
            self.coming.fetch()
        return float(self.ranks.sum(numpy.array(loss.item())))

    def tensors(self, batch: Sequence[Any]) -> list[Tensor]:
        """A batch as tensors, where the model is."""
        device = next(self.model.parameters()).device
        return [(part if isinstance(part, Tensor) else from_numpy(part)).to(device=device) for part in batch]

    def ahead(self, batches: Iterable[tuple[Any, float]]) -> Ahead:
        """The batches; where the model is on a GPU, `fetch()` brings the next one there while that computes."""
        return Ahead(batches, next(self.model.parameters()).device)

    def set_rates(self, rates: Sequence[float], momentum: float | None = None) -> None:
        """Set the learning rate of each layer group, and the momentum of all."""
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["layer"]]
            if momentum is not None:
                group |= {"betas": (momentum, *group["betas"][1:])} if "betas" in group else {"momentum": momentum}

    def _call(self, point: str) -> None:
        for callback in self.cbs:
            getattr(callback, point)(self)

    # How to train ---------------------------------------------------------------------------------------------------

    def fit(self, n_epoch: int, lr: Rate | None = None, wd: float | None = None) -> None:
        """Train at a constant rate; `wd` is the weight decay of this training, by default the optimizer's."""
        rates = self._rates(lr)
        self._train(n_epoch, [lambda _, rate=rate: rate for rate in rates], None, wd)  # type: ignore[misc]

    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: Rate | None = None,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
    ) -> None:
        """Train for one cycle: the rate rises from lr_max / div over `pct_start` of the way, and falls to nearly 0.

        The momentum does the opposite; `wd` is the weight decay of this training, by default the optimizer's.
        """
        rates = [one_cycle(rate, div, div_final, pct_start) for rate in self._rates(lr_max)]
        self._train(n_epoch, rates, combined_cos(pct_start, *(moms or self.moms)), wd)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100.0,
        pct_start: float = 0.3,
        div: float = 5.0,
        wd: float | None = None,
    ) -> None:
        """Train the head alone for `freeze_epochs`, then everything, the first layers `lr_mult` times slower."""
        self.freeze()
        self.fit_one_cycle(freeze_epochs, slice(base_lr), pct_start=0.99, wd=wd)
        self.unfreeze()
        base_lr /= 2
        self.fit_one_cycle(epochs, slice(base_lr / lr_mult, base_lr), div=div, pct_start=pct_start, wd=wd)

    def _rates(self, lr: Rate | None) -> list[float]:
        return group_rates(self.lr if lr is None else lr, len(self.groups))

    def freeze_to(self, n: int) -> None:
        """Let only the layer groups from `n` on learn (−1: the last one), and, with `train_bn`, all normalizations."""
        first = range(len(self.groups))[n] if n else 0
        for i, group in enumerate(self.groups):
            for p, kind in group:
                p.requires_grad_(i >= first or (kind == "norm" and self.train_bn))

    def freeze(self) -> None:
        """Let only the head learn."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Let everything learn."""
        self.freeze_to(0)

    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_it: int = 100,
        stop_div: bool = True,
        show_plot: bool = True,
    ) -> Suggestions:
        """Look for a learning rate: see `find_rate`. Nothing that training depends on is changed by it."""
        return find_rate(self, start_lr, end_lr, num_it, stop_div, show_plot)

    # What comes out -------------------------------------------------------------------------------------------------

    def validate(self, dl: Any = None, ranks: Ranks | None = None) -> list[float]:
        """The loss and the metrics, over all images of a loader, by default of the validation images.

        Args:
            dl: the loader.
            ranks: who shares the work, and all of whom must call this; by default this process does it alone.
        """
        output, y = self._outputs(self.dls.valid if dl is None else dl, ranks or Ranks())
        if y is None:
            raise ValueError("validate: the images have no labels")
        return [float(self.loss_func(output, y).item()), *(float(metric(output, y)) for metric in self.metrics)]

    def get_preds(
        self,
        dl: Any = None,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Any, ...]:
        """Probabilities (N, classes), or what else the loss makes of the outputs, and labels (N,) or `None`.

        Wherever the model is, they are on the CPU, as in fastai.

        Args:
            dl: a loader, by default of the validation images. Of one that shuffles, the images come in the order of the
                data set, all of them, and as they are.
            with_decoded: also the answers: of a classifier the most probable class of each image (see `outputs`).
            with_loss: also the loss of each image.
            act: what to make of the outputs instead.
        """
        output, labels = self._outputs(self.dls.valid if dl is None else dl, Ranks())
        if act is None or with_decoded:
            reading = reading_of(self.loss_func)
            act = act or reading.activation
        found = act(output)
        answer: tuple[Any, ...] = (found, labels)
        if with_decoded:
            answer += (reading.decodes(found),)
        if with_loss:
            with no_grad():
                answer += (None if labels is None else loss_of_each(self.loss_func, output, labels),)
        return tuple(map(_on_the_cpu, answer))

    def predict(self, item: Any) -> tuple[str, Tensor, Tensor]:
        """What the model takes one image for: the name of the class, its number, and the probabilities.

        Args:
            item: for loaders of images a file, a picture of Pillow's, or its pixels (H, W) or (H, W, 3) as uint8; for
                others what the model reads, without the batch's dim.
        """
        dl = self.dls.one(item) if hasattr(self.dls, "one") else [(as_tensor(item).unsqueeze(0),)]
        probabilities, _, decoded = self.get_preds(dl, with_decoded=True)
        vocab = getattr(self.dls, "vocab", None)
        (name,) = names_of(reading_of(self.loss_func).kind, decoded.cpu().numpy(), vocab)
        return name, decoded[0], probabilities[0]

    def _outputs(self, dl: Any, ranks: Ranks) -> tuple[Any, Any]:
        """All outputs, and all labels or `None`."""
        self.model.eval()
        parts: list[tuple[Any, Any]] = []
        coming = self.ahead(shares(in_order(dl), ranks))
        for batch, _ in coming:
            x, *rest = self.tensors(batch)
            with no_grad():
                output = self.model(x)
            coming.fetch()
            parts.append((together(output, ranks), together(rest[0], ranks) if rest else None))
        if not parts:
            raise ValueError("Learner: there are no images to look at: the loader has no batch")
        return joined([output for output, _ in parts]), None if parts[0][1] is None else cat([y for _, y in parts])

    # Files ----------------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Any]:
        """What, beside the model, a training that goes on needs: for `Checkpoint`."""
        return {"optimizer": self.optimizer, "recorder": self.recorder, "order": Order(self.dls.train)}

    def save(self, file: str | Path, with_opt: bool = True) -> Path:
        """Write the model's state as `.safetensors` (added where the name has no ending).

        Args:
            file: where to.
            with_opt: write all that training needs to go on, too: the optimizer, the numbers of the recorder, the order
                of the data and the place in the stream of random numbers. fit(2), save, load and fit(2) are fit(4).
                Of several ranks only rank 0 writes.
        """
        path = _with_suffix(file)
        if self.ranks.rank:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        if with_opt:
            return Checkpoint(path, model=self.model, **self.parts()).save()
        save(snapshot(self.model), path)
        return path

    def load(self, file: str | Path, with_opt: bool = True) -> Learner:
        """Read what `save` wrote; returns the learner itself.

        With `with_opt`, training will go on as it would have where it was saved; of a file without an optimizer, a
        warning says so, and only the model is loaded.
        """
        path = _with_suffix(file)
        state = load(path)
        if with_opt and not holds(state, "optimizer"):
            warnings.warn(f"{path} holds a model and no optimizer; the optimizer stays as it is", stacklevel=2)
            with_opt = False
        restore(state, self.model, **(self.parts() | {"random": Randomness()} if with_opt else {}))
        return self

    # Pictures -------------------------------------------------------------------------------------------------------

    def show_results(self, dl: Any = None, max_n: int = 9) -> Any:
        """Show images of a loader with what they are and what the model takes them for; returns the figure."""
        from tinygrad_med.learner.pictures import show_results

        return show_results(self, self.dls.valid if dl is None else dl, max_n)


def _parameters(modules: Iterable[Module]) -> list[tuple[Parameter, str]]:
    """The parameters of some modules, each with what it is: "norm", "bias" or "weight"."""
    found: dict[int, tuple[Parameter, str]] = {}
    for top in modules:
        for module in top.modules():
            for name, p in module.named_parameters(recurse=False):
                kind = "norm" if isinstance(module, NORMS) else "bias" if name.endswith("bias") else "weight"
                found.setdefault(id(p), (p, kind))
    return list(found.values())


def _with_suffix(file: str | Path) -> Path:
    path = Path(file)
    return path if path.suffix else path.with_suffix(".safetensors")


def _on_the_cpu(x: Any) -> Any:
    """A tensor, or several in a tuple, a list or a dict, on the CPU; anything else as it is."""
    if isinstance(x, dict):
        return {name: _on_the_cpu(y) for name, y in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(map(_on_the_cpu, x))
    return x.cpu() if isinstance(x, Tensor) else x
