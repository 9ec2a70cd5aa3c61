"""One sentence about what is off in a training, or nothing. Pure functions on what the session shows."""

from __future__ import annotations

from collections.abc import Sequence

from ..session import History
from ..types import Case, RunState

_LATELY = 20


def diagnose(history: History, cases: Sequence[Case], classes: Sequence[str], state: RunState | None) -> str:
    """Return the most important thing to say, or an empty string."""
    usable = [case for case in cases if case.problem is None]
    if not any(case.labelled and not case.validation for case in usable):
        return "There is nothing to learn from yet: mark at least one slice as done in Annotate."
    if state == "interrupted":
        return "This run was cut off. Resume goes on from its last checkpoint."
    said = _about_selector(history, state) or _about_health(history, classes) or _about_classes(history, classes)
    if said:
        return said
    if not any(case.validation and case.labelled for case in usable):
        return "No case is held out for validation, so nobody can tell how good the model is. Add some with masks."
    return ""


def _about_selector(history: History, state: RunState | None) -> str:
    lately = [step.accepted for step in history.steps[-_LATELY:]]
    shares = [share for share in lately if share is not None]
    warms_up = history.steps and not shares and history.selector != "none"
    if warms_up and state in ("running", "paused"):
        return "Warming up on labelled slices alone; pseudo masks join in later."
    if warms_up and state == "stopped":
        return "This run has stopped while it warmed up on labelled slices alone: pseudo masks join in when it goes on."
    if history.examined is not None and not history.examined.proven:
        return (
            "The discriminator cannot tell good masks from bad ones yet, and its verdicts are not used. More labelled "
            "or validation cases, decisions on proposals or more training will help."
        )
    if len(shares) < _LATELY or history.selector != "discriminator":
        return ""
    if min(shares) >= 0.99:
        return "The discriminator accepts everything: it cannot tell good from bad yet. Reject a few proposals."
    if max(shares) <= 0.01:
        return "The discriminator accepts nothing yet. Correct a few proposals."
    return ""


def _about_health(history: History, classes: Sequence[str]) -> str:
    """Look at the last few rounds of proposals for a class that never passes, or is never found."""
    rounds = history.proposed[-3:]
    if len(rounds) < 3 or len(classes) < 2:
        return ""
    counts = {name: [item.by_class.get(name, [0, 0]) for item in rounds] for name in rounds[-1].by_class}
    unseen = [name for name, pairs in counts.items() if not any(of for _, of in pairs)]
    if unseen:
        return f"No proposal shows {' or '.join(unseen)} lately: label a few more slices that do."
    failing = [name for name, pairs in counts.items() if not any(passed for passed, _ in pairs)]
    if failing:
        shown = " or ".join(failing)
        return f"No proposal that shows {shown} passes the threshold of {history.judge}: correct a few of them."
    return ""


def _about_classes(history: History, classes: Sequence[str]) -> str:
    if not history.evaluations:
        return ""
    dice = history.evaluations[-1].dice
    missing = [name for name in classes if name not in dice]
    if missing:
        return f"This run does not know {missing[0]}: start a new one."
    poor = [name for name in classes if dice[name] < 0.05]
    if poor and history.evaluations[-1].step >= 100:
        return f"The model does not find {poor[0]} yet: label a few more slices that show it."
    return ""
