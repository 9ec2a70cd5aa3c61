"""A step beside the usual way to write it: ``python benchmarks/usual.py``.

The usual way is FixMatch as most repositories have it: two ``DataLoader``s, MONAI's random transforms sample by sample
on the CPU, float32, a confidence threshold on the teacher's look at the weak view. Same network, batch and size; ours
is the selector confidence-map with one look, which passes its networks as often. Both take turns, on one thread in
processor time; or one after the other by the clock on a GPU (``--device cuda``), where loaders have eight processes.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from common import append, in_turn
from monai.losses import DiceCELoss
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandGibbsNoised,
    RandHistogramShiftd,
)
from step import material
from torch.utils.data import DataLoader, Dataset, RandomSampler

from napari_segmatch.config import configure
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.networks import build

STRONG = (RandGaussianNoised, RandGaussianSmoothd, RandAdjustContrastd, RandBiasFieldd, RandGibbsNoised)


class Slices(Dataset):
    """Slices in memory; each comes with its weak view, its strong view and its labels."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.weak = Compose([
            RandFlipd(["image", "label"], prob=0.5, spatial_axis=1),
            RandAffined(["image", "label"], prob=1.0, translate_range=12, mode=["bilinear", "nearest"],
                        padding_mode="border"),
        ])  # fmt: skip
        self.strong = Compose([*(kind("image", prob=0.14) for kind in STRONG),
                               RandHistogramShiftd("image", prob=0.14)])  # fmt: skip

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        weak = self.weak({"image": self.images[index], "label": self.labels[index][None].float()})
        strong = self.strong({"image": weak["image"].clone()})
        return weak["image"].as_tensor(), weak["label"].as_tensor().long(), strong["image"].as_tensor()


def endless(images, labels, batch, workers):
    data = Slices(images.cpu(), labels.cpu())
    while True:
        sampler = RandomSampler(data, replacement=True, num_samples=(1000 if workers else 50) * batch)
        yield from DataLoader(data, batch, sampler=sampler, num_workers=workers, pin_memory=workers > 0)


class Usual:
    """Student, teacher, optimiser and a step of plain float32 PyTorch."""

    def __init__(self, config, pool, workers):
        self.batch, self.device = config.batch, pool.device
        self.model, self.teacher = (build(config.network, 1, 2, config.features).to(self.device) for _ in range(2))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), 1e-3)
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
        self.labelled = endless(
            pool.slices(pool.labelled), pool.labels_of(pool.labelled).clamp(max=1), config.batch, workers
        )
        self.unlabelled = endless(
            pool.slices(pool.unlabelled), pool.labels_of(pool.unlabelled) * 0, config.batch, workers
        )

    def step(self):
        images, labels, _ = (part.to(self.device, non_blocking=True) for part in next(self.labelled))
        weak, _, strong = (part.to(self.device, non_blocking=True) for part in next(self.unlabelled))
        with torch.no_grad():
            confidence, pseudo = self.teacher(weak).softmax(1).max(1)
        logits = self.model(torch.cat([images, strong]))
        loss = self.loss(logits[: self.batch], labels)
        kept = (confidence >= 0.95).float()
        loss = loss + (F.cross_entropy(logits[self.batch :], pseudo, reduction="none") * kept).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
                slow.mul_(0.99).add_(fast, alpha=0.01)
        return float(loss.detach())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--preset", default="standard")
    given = parser.parse_args()
    torch.set_num_threads(1)
    on_gpu = given.device != "cpu"
    with tempfile.TemporaryDirectory() as folder:
        config = configure(given.preset, device=given.device, selector="confidence-map", second_look=False, warmup=0.0)
        pool = ResidentPool(material(Path(folder)), config.size, torch.device(given.device))
        pool.update()
        ours, usual = Learner(config, 1, 1), Usual(config, pool, workers=8 if on_gpu else 0)
        jobs = {"ours": lambda: ours.learn(pool, 0.5), "usual": usual.step}
        if on_gpu:  # one after the other: loaders go on while somebody else has a turn
            alone = [in_turn({name: job}, 4 * given.rounds, given.device, before=40) for name, job in jobs.items()]
            mean = alone[0] | alone[1]
        else:
            mean = in_turn(jobs, given.rounds)
    row = {"device": given.device, "preset": given.preset, "rounds": given.rounds}
    row |= {f"{name}_ms": f"{1000 * value:.1f}" for name, value in mean.items()}
    print(append("usual", row | {"usual_over_ours": f"{mean['usual'] / mean['ours']:.2f}"}))


if __name__ == "__main__":
    main()
