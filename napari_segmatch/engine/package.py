"""A trained network for other programs: TorchScript, ONNX or a MONAI bundle, each with a model card.

What leaves is the teacher as it looks at slices here, mirror image included: slices in, probabilities out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..texts import count
from .checkpoint import Loaded
from .evidence import look_with

KINDS = {
    "torchscript": '`probabilities = torch.jit.load("model.ts")(images)`',
    "onnx": '`probabilities, = onnxruntime.InferenceSession("model.onnx").run(None, {"images": images})`',
    "monai-bundle": '`probabilities = torch.jit.load("models/model.ts")(images)`, or `network_def` and `inferer` of '
    "configs/inference.json; slices are prepared and put back by who calls it, so there is no workflow to run",
}
"""What a network can be packaged as, and how it is used then."""


class _Segmenter(nn.Module):
    """Prepared slices (n, channels, size, size) to class probabilities (n, 1 + classes, size, size)."""

    def __init__(self, network: nn.Module, mirror: bool) -> None:
        super().__init__()
        self.network, self.mirror = network, mirror

    def forward(self, images: Tensor) -> Tensor:
        return look_with(self.network, images, self.mirror).probabilities


def package(loaded: Loaded, kind: str, facts: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of a packaged network by name.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    facts
        For the card: what the network was trained on and how well it does, a line each.

    Raises
    ------
    ConfigError
        For another kind, or if ONNX is not installed.
    """
    if kind not in KINDS:
        raise ConfigError(f"A network cannot be packaged as {kind!r}; choose one of {', '.join(KINDS)}.")
    about = _about(loaded)
    card = _card(loaded, {**facts, "use": KINDS[kind]}).encode()
    if kind == "onnx":
        return {"model.onnx": _onnx(loaded), "model.json": _json(about), "README.md": card}
    if kind == "torchscript":
        return {"model.ts": _torchscript(loaded), "model.json": _json(about), "README.md": card}
    return {
        "models/model.ts": _torchscript(loaded),
        "configs/metadata.json": _json(_metadata(loaded, facts)),
        "configs/inference.json": _json(_inference(loaded)),
        "docs/README.md": card,
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _example(loaded: Loaded) -> tuple[nn.Module, Tensor]:
    config = loaded.learner.config
    network = _Segmenter(loaded.learner.teacher, config.second_look and config.flip > 0)
    return network.cpu().eval(), torch.zeros(2, len(_channels(loaded)), config.size, config.size)


def _channels(loaded: Loaded) -> list[str]:
    """Name the input's channels: sequences of the slice before come before its own."""
    beside = loaded.learner.neighbours
    return [
        name + (f", {count(abs(offset), 'slice')} {'after' if offset > 0 else 'before'}" if offset else "")
        for offset in range(-beside, beside + 1)
        for name in loaded.sequences
    ]


def _torchscript(loaded: Loaded) -> bytes:
    network, example = _example(loaded)
    buffer = BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, example), buffer)
    return _without_places(buffer)


def _without_places(archive: BytesIO) -> bytes:
    """Leave out where on this computer each line of code lies, and so maybe whose it is: nobody needs it to compute."""
    out = BytesIO()
    with ZipFile(archive) as before, ZipFile(out, "w") as after:
        for entry in before.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                after.writestr(entry, before.read(entry))
    return out.getvalue()


def _onnx(loaded: Loaded) -> bytes:
    try:
        import onnx  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ConfigError('ONNX needs another package: pip install "napari-segmatch[onnx]".') from error
    network, example = _example(loaded)
    with torch.no_grad(), warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), Path(folder) / "model.onnx", dynamo=False, opset_version=17,
            input_names=["images"], output_names=["probabilities"],
            dynamic_axes={"images": {0: "slices"}, "probabilities": {0: "slices"}},
        )  # fmt: skip
        return (Path(folder) / "model.onnx").read_bytes()


def _about(loaded: Loaded) -> dict[str, Any]:
    return {
        "sequences": list(loaded.sequences),
        "channels": _channels(loaded),
        "labels": ["background", *loaded.classes],
        "size": loaded.learner.config.size,
        "directions": loaded.learner.config.directions,
        "step": loaded.learner.step,
        "made_with": f"napari-segmatch {version('napari-segmatch')}",
    }


def _metadata(loaded: Loaded, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return what MONAI asks of a bundle's metadata.json."""
    size, names = loaded.learner.config.size, ["background", *loaded.classes]
    common = {"spatial_shape": [size, size], "dtype": "float32", "is_patch_data": False}
    slices = common | {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": len(_channels(loaded)),
                       "value_range": [], "channel_def": dict(enumerate(_channels(loaded)))}  # fmt: skip
    chances = common | {"type": "probabilities", "format": "segmentation", "num_channels": len(names),
                        "value_range": [0, 1], "channel_def": dict(enumerate(names))}  # fmt: skip
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20220324.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": "first export"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "optional_packages_version": {},
        "task": f"Segmentation of {', '.join(loaded.classes)} on slices of {', '.join(loaded.sequences)}",
        "description": " ".join([f"{key}: {value}." for key, value in facts.items()]),
        "intended_use": "Research use only, not for diagnosis",
        "authors": "made with napari-segmatch",
        "copyright": "",
        "network_data_format": {"inputs": {"image": slices}, "outputs": {"pred": chances}},
    }


def _inference(loaded: Loaded) -> dict[str, Any]:
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "inferer": {"_target_": "SimpleInferer"},
    }


def _card(loaded: Loaded, facts: Mapping[str, str]) -> str:
    """Write what a person has to know before using the network."""
    size = loaded.learner.config.size
    beyond = "Beyond a volume's first and last slice these are repeated.\n" if loaded.learner.neighbours else ""
    way = loaded.learner.config.directions
    turned = f"Voxels are counted as {way} says (L to the left, P to the back, S up).\n" if way else ""
    return f"""# Model card

Research use only; not a medical device, not for diagnosis.

Segments {", ".join(loaded.classes)} on MRI slices of {", ".join(loaded.sequences)}.

{chr(10).join(f"- {key}: {value}" for key, value in facts.items())}
- made with: napari-segmatch {version("napari-segmatch")}, step {loaded.learner.step}

## In and out

In: float32 (slices, {len(_channels(loaded))}, {size}, {size}). The channels are {"; ".join(_channels(loaded))}.
{beyond}Each sequence of a whole volume is clipped to its percentiles 0.5 and 99.8, then brought to mean 0 and standard
deviation 1 over the voxels brighter than 8 % of that range. Slices are cut to the body, all of a volume alike:
from the first row to the last one where, over all slices, more than 2 % of the voxels are brighter than 10 % of
the range in any sequence, with 4 more rows on either side; nothing is cut off where fewer than a quarter of the
rows are such. The same goes for columns. Whatever the voxels' size in mm, both sides are scaled by one factor,
bilinearly with antialiasing, so that the longer one is {size}; the slice lies in the square's middle, and around
it each sequence has its darkest value. A sequence that a case lacks is all 0.
{turned}Slices lie across the axis along which voxels are 1.5 times as long as along both others, or longer; else they
are axial. Rows follow each other along the axis between feet and head, on axial slices along that between back
and front; columns along the third.
Out: probabilities of background and each class, which sum to 1. A mask is the likeliest of them, once the slice's part
of the square is scaled back, bilinearly.
`segmatch predict` does all this, brings masks back onto the source's voxels, and may leave out stray parts.

## Limits

It knows scanners, sequences and patients like those it was trained on. Masks must be checked by a person. Weights may
hold traces of the images that they were trained on: treat them as such.
"""
