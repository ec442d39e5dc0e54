"""One training run: network, optimiser, schedule, average and log, at a certain step."""

import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from headframe.core.errors import JobError, RecipeError
from headframe.core.progress import Progress
from headframe.engine.adaptation import Adaptation
from headframe.engine.bundle import Bundle
from headframe.engine.embedding_store import (
    EmbeddedStream,
    Share,
    check_embedder,
    embed_crops,
)
from headframe.engine.lessons import Lessons
from headframe.engine.optimisation import build_optimizer, build_schedule
from headframe.engine.prompt_samples import PromptStore
from headframe.engine.recipe import Recipe
from headframe.engine.runlog import RunLog
from headframe.engine.sampling import CropPlan, CropStream, Sample, StreamSampler
from headframe.engine.weights import save_checkpoint
from headframe.losses.build import build_loss
from headframe.models.depthwise import depthwise_in_float32
from headframe.models.registry import get_architecture
from headframe.models.trainable import (
    copy_with,
    load_trained,
    set_trainable,
    trained_state,
    trained_view,
)

CHECKPOINT = "checkpoint.pt"
_LOG = logging.getLogger("headframe")
Validate = Callable[[Bundle], float | None]
"""Pooled IoU of the target class on the validation part, or None where there is none."""


class Run:
    """One run: network, optimiser, schedule, average and log, at a certain step.

    ``recipe.train.steps`` is what it takes; the caller has resolved it from epochs. With
    ``embeddings``, a folder, it trains on crops embedded ahead (``engine.embedding_store``); with
    ``lessons`` it keeps what a teacher knows, with ``adaptation`` it looks at another domain too.
    """

    def __init__(self, fabric: Fabric, recipe: Recipe, bundle: Bundle, out: Path) -> None:
        self.fabric = fabric
        self.recipe = recipe
        self.bundle = bundle
        self.out = out
        self.step = 0
        self.seconds = 0.0
        self.embeddings: Path | None = None
        self.embedding_seconds = 0.0
        self.lessons: Lessons | None = None
        self.adaptation: Adaptation | None = None
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        settings = recipe.train
        _check_size(recipe)
        network = bundle.network.to(memory_format=torch.channels_last)
        set_trainable(network)
        if settings.embed_epochs:
            check_embedder(network, architecture=recipe.model.architecture)
        if fabric.device.type == "cpu":
            depthwise_in_float32(network)
        optimizer = build_optimizer(network, settings)
        self.schedule = build_schedule(optimizer, settings)
        self.network, self.optimizer = fabric.setup(network, optimizer)
        if settings.embed_epochs:
            self.network.mark_forward_method("decode")
        self.average = (
            AveragedModel(trained_view(network), avg_fn=_ema(settings.ema), use_buffers=True)
            if settings.ema > 0
            else None
        )
        self.loss = build_loss(recipe.loss.name, **recipe.loss.options)
        self.log = RunLog(out)

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the step of a checkpoint."""
        load_trained(self.bundle.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        if state["best"] is not None:
            self.best = (float(state["best"][0]), int(state["best"][1]), state["best"][2])
        for beside, name in ((self.lessons, "lessons"), (self.adaptation, "adaptation")):
            if beside is not None:
                beside.restore(state.get(name))
        self.log.rewind(self.step)

    def checkpoint(self) -> None:
        """Write the log, then the state, each all or nothing."""
        if not self.fabric.is_global_zero:
            return
        self.log.flush()
        average = None if self.average is None else self.average.state_dict()
        save_checkpoint(
            self.out / CHECKPOINT,
            {
                "network": trained_state(self.bundle.network),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "average": average,
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "lessons": None if self.lessons is None else self.lessons.state(),
                "adaptation": None if self.adaptation is None else self.adaptation.state(),
            },
        )

    def fit(self, store: Sequence[Sample], validate: Validate, progress: Progress) -> None:
        """Take the steps that are left."""
        settings = self.recipe.train
        if self.recipe.augment.channel_shuffle > 0:
            _LOG.warning(
                "augment.channel_shuffle permutes the bands: a pixel's spectrum no longer tells "
                "what it is. Leave it at 0 unless you are reproducing a paper."
            )
        samples = self._samples(store, progress)
        progress.start(f"Training {self.recipe.name}", settings.steps)
        progress.advance(self.step)
        began = time.perf_counter() - self.seconds
        for pixels, label in self._batches(samples):
            if self._stopped():
                break
            self._one_step(pixels, label)
            self.seconds = time.perf_counter() - began
            progress.advance()
            every = settings.validate_every
            if every and self.step % every == 0:
                self._validate(validate)
            if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                self.checkpoint()
        progress.finish()

    def _samples(
        self, store: Sequence[Sample], progress: Progress
    ) -> Dataset[tuple[Tensor, Tensor]]:
        """Crops, or what the frozen encoder makes of them."""
        settings = self.recipe.train
        plan = CropPlan(settings.crop_px, settings.seed, self.recipe.augment)
        crops = store.stream(plan) if isinstance(store, PromptStore) else CropStream(store, plan)
        if self.embeddings is None:
            return crops
        with self.fabric.autocast():
            self.embedding_seconds = embed_crops(
                crops,
                self.bundle.network,
                self.embeddings,
                epochs=settings.embed_epochs,
                batch=settings.batch,
                progress=progress,
                share=Share(self.fabric.global_rank, self.fabric.world_size),
            )
        self.fabric.barrier()
        return EmbeddedStream(crops, self.embeddings, epochs=settings.embed_epochs)

    def _batches(self, samples: Dataset[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        settings = self.recipe.train
        sampler = StreamSampler(
            start=self.step,
            steps=settings.steps,
            batch=settings.batch,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        loader = DataLoader(
            samples,
            batch_size=settings.batch,
            sampler=sampler,
            num_workers=settings.workers,
        )
        prepared: Any = self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)
        yield from prepared

    def _one_step(self, pixels: Tensor, label: Tensor) -> None:
        checksum = zlib.crc32(label.cpu().numpy().tobytes() + pixels.cpu().numpy().tobytes())
        # Dropout, too, is a function of seed and step, or a resumed run would drop other cells.
        torch.manual_seed(self.recipe.train.seed * 1_000_003 + self.step)
        if self.adaptation is not None:
            pixels = self.adaptation.begin(pixels, self.step)
        logits = self._logits(pixels.contiguous(memory_format=torch.channels_last), label)
        loss = self.loss(logits.float(), label)
        if self.lessons is not None:
            loss = loss + self.lessons.loss(pixels, logits, label)
        if self.adaptation is not None:
            loss = loss + self.adaptation.loss(self.network, logits, self.loss)
        value = loss.detach().item()
        if not math.isfinite(value):
            raise JobError(f"{self.out}: the loss is {value} at step {self.step}. Lower train.lr.")
        self.fabric.backward(loss)
        self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.recipe.train.clip_norm
        )
        rate = float(self.schedule.get_last_lr()[-1])
        self.optimizer.step()
        self.optimizer.zero_grad()
        for beside in (self.lessons, self.adaptation):
            if beside is not None:
                beside.learn()
        self.schedule.step()
        self.step += 1
        if self.average is not None:
            self.average.update_parameters(trained_view(self.bundle.network))
        self.log.add(step=self.step, loss=value, lr=rate, batch=f"{checksum:08x}")
        self.fabric.log("loss", value, step=self.step)

    def _logits(self, pixels: Tensor, label: Tensor) -> Tensor:
        """Score a batch of crops, or of their embeddings."""
        if self.embeddings is None:
            found: Tensor = self.network(pixels)
            return found
        decoded: Tensor = self.network.decode(pixels, (label.shape[1], label.shape[2]))
        return decoded

    def trained(self, *, best: bool = True) -> Bundle:
        """The bundle as it stands.

        Args:
            best: with early stopping, the weights of the best validation; else the averaged
                ones where there is an average, else the last.
        """
        source = self.bundle.network
        view = source if self.average is None else self.average.module
        network = copy_with(source, view)
        if best and self.best is not None and self.recipe.train.patience:
            load_trained(network, self.best[2])
        return replace(self.bundle, network=network)

    def _validate(self, validate: Validate) -> None:
        bundle = self.trained(best=False)
        value = validate(bundle)
        if value is None:
            return
        self.log.annotate(self.step, value)
        self.fabric.log("validation_iou", value, step=self.step)
        if self.best is None or value > self.best[0]:
            self.best = (value, self.step, trained_state(bundle.network))

    def _stopped(self) -> bool:
        settings = self.recipe.train
        if not (settings.patience and settings.validate_every and self.best):
            return False
        return self.step - self.best[1] >= settings.patience * settings.validate_every


def _check_size(recipe: Recipe) -> None:
    least = get_architecture(recipe.model.architecture).min_px
    least *= int(recipe.model.options.get("reduce", 1))
    if min(recipe.train.crop_px, recipe.output.patch_px) < least:
        raise RecipeError(
            f"architecture {recipe.model.architecture!r} takes sides of {least} px and more; "
            f"train.crop_px is {recipe.train.crop_px}, output.patch_px {recipe.output.patch_px}."
        )


def _ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential average whose memory grows with the run, up to ``decay``."""

    def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        if not old.is_floating_point():
            return new
        return old * keep + new * (1 - keep)

    return average
