"""A form for :class:`TrainConfig`, made from the help, range and unit that each field carries."""

from __future__ import annotations

import dataclasses
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QLineEdit, QSpinBox, QWidget

from ..config import TrainConfig, configure
from ..errors import ConfigError

SHOWN = (
    "steps", "minutes", "size", "batch", "features", "network", "learning_rate", "selector", "objective", "tau",
    "lambda_u", "mu", "warmup", "flip", "evaluate_every", "propose_every", "proposals", "checkpoint_every", "parts",
    "seed",
)  # fmt: skip
"""Settings that people change; the others keep the preset's value."""


class ConfigForm(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._controls: dict[str, QWidget] = {}
        layout = QFormLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        specs = {spec.name: spec for spec in dataclasses.fields(TrainConfig)}
        for name in SHOWN:
            control = self._controls[name] = _control(specs[name])
            layout.addRow(name.replace("_", " "), control)
        self.setLayout(layout)

    def show_preset(self, preset: str) -> None:
        config = configure(preset)
        for name, control in self._controls.items():
            _set(control, getattr(config, name))

    def config(self, preset: str, device: str) -> TrainConfig:
        """Return the preset with what the form says; raises ConfigError with a sentence."""
        specs = {spec.name: spec for spec in dataclasses.fields(TrainConfig)}
        values = {name: _get(control, specs[name]) for name, control in self._controls.items()}
        return configure(preset).replace(**values, device=device)


def _control(spec: dataclasses.Field[Any]) -> QWidget:
    meta = spec.metadata
    if meta["choices"]:
        made: QWidget = QComboBox()
        made.addItems(meta["choices"])  # type: ignore[attr-defined]
    elif spec.type == "bool":
        made = QCheckBox()
    elif spec.type == "int":
        made = QSpinBox()
        made.setRange(int(meta["low"]), int(min(meta["high"], 2**31 - 1)))
    elif spec.type == "float":
        made = QDoubleSpinBox()
        made.setDecimals(6 if meta["low"] and meta["low"] < 1e-3 else 3)
        made.setRange(meta["low"], meta["high"])
        made.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    else:
        made = QLineEdit()
        made.setPlaceholderText("auto" if spec.default is None else "")  # type: ignore[attr-defined]
    if isinstance(made, QSpinBox | QDoubleSpinBox) and meta["unit"]:
        made.setSuffix(f" {meta['unit']}")
    made.setToolTip(meta["help"])
    made.setMinimumWidth(90)
    return made


def _set(control: QWidget, value: Any) -> None:
    if isinstance(control, QComboBox):
        control.setCurrentText(value)
    elif isinstance(control, QCheckBox):
        control.setChecked(value)
    elif isinstance(control, QLineEdit):
        control.setText("" if value is None else str(value))
    else:
        control.setValue(value)


def _get(control: QWidget, spec: dataclasses.Field[Any]) -> Any:
    if isinstance(control, QComboBox):
        return control.currentText()
    if isinstance(control, QCheckBox):
        return control.isChecked()
    if not isinstance(control, QLineEdit):
        return control.value()
    words = control.text().strip()
    if spec.default is not None:
        return words
    try:
        return float(words) if words else None
    except ValueError as error:
        low, high = spec.metadata["low"], spec.metadata["high"]
        raise ConfigError(
            f"{spec.name} is {words!r}; it is a number from {low:.10g} to {high:.10g}, or empty."
        ) from error
