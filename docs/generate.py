"""Write the parts of docs/reference.md that derive from the code: ``python docs/generate.py``."""

import dataclasses
import re
from pathlib import Path

from napari_segmatch.config import PRESETS, TrainConfig

REFERENCE = Path(__file__).parent / "reference.md"


def settings() -> str:
    """Return the table of all training settings."""
    lines = ["| setting | default | allowed | what it is |", "|---|---|---|---|"]
    for spec in dataclasses.fields(TrainConfig):
        meta = spec.metadata
        allowed = ", ".join(meta["choices"])
        if meta["low"] is not None:
            low, high = (f"{bound:,.0f}" if bound >= 1000 else f"{bound:g}" for bound in (meta["low"], meta["high"]))
            allowed = f"{low} to {high} {meta['unit']}".strip()
            allowed += f", a multiple of {meta['multiple']}" if meta["multiple"] > 1 else ""
        allowed = "true, false" if spec.type == "bool" else allowed
        default = "empty" if spec.default in (None, "") else f"`{spec.default}`".lower()
        lines.append(f"| `{spec.name}` | {default} | {allowed} | {meta['help']} |")
    return "\n".join(lines)


def presets() -> str:
    """Return the list of presets with what each changes."""
    return "\n".join(
        f"- `{name}`: " + (", ".join(f"`{key}={value}`" for key, value in changes.items()) or "the defaults above")
        for name, changes in PRESETS.items()
    )


def renewed(text: str) -> str:
    """Return the page with its generated parts up to date."""
    for name, part in (("settings", settings()), ("presets", presets())):
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda found, part=part: f"{found[1]}{part}\n{found[2]}",
            text,
            flags=re.S,
        )
    return text


if __name__ == "__main__":
    REFERENCE.write_text(renewed(REFERENCE.read_text("utf-8")), "utf-8")
