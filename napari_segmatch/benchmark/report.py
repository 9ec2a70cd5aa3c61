"""What the rows of a benchmark say: tables in words, and two figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .table import is_last, read

DRAWS = 10_000
Row = dict[str, str]


@dataclass(frozen=True)
class Choice:
    """Which rows of a table belong together: of one material, length of runs, set of settings, and some budgets."""

    table: Path
    material: str
    marks: tuple[int, ...]
    methods: tuple[str, ...]
    settings: str
    labelled: tuple[int, ...]

    def rows(self, last: bool = True) -> list[Row]:
        """Return the rows; only those at the end of a run if ``last``."""
        same = {"material": self.material, "marks": " ".join(map(str, self.marks)), "settings": self.settings}
        return [
            row for row in read(self.table)
            if row["method"] in self.methods and int(row["labelled"]) in self.labelled
            and same.items() <= row.items() and (not last or is_last(row))
        ]  # fmt: skip


def describe(choice: Choice) -> Iterator[str]:
    """Yield the table of mean Dice at every mark, each with its paired difference to the first method.

    ``best`` is in each run the mark that validation patients prefer.
    """
    rows, methods = choice.rows(last=False), choice.methods
    at = {str(mark): [row for row in rows if row["step"] == str(mark)] for mark in choice.marks}
    if len(at) > 1:
        at["best"] = _preferred(rows)
    head = f"{'method':<16} {'labelled':>8} {'steps':>6} {'seeds':>5}  {'validation':>10}  {'test (95 % CI)':<24} "
    yield f"{head}against {methods[0]}"
    for budget in sorted({int(row["labelled"]) for row in rows}):
        for steps, some in at.items():
            first = per_seed(some, methods[0], budget)
            for method in methods:
                mine = per_seed(some, method, budget)
                if mine:
                    head = f"{method:<16} {budget:>8} {steps:>6} {len(mine):>5}  "
                    yield head + _dice(mine, {} if method == methods[0] else first)


def _dice(mine: dict[str, Row], others: dict[str, Row]) -> str:
    """Tell the Dice of a method's seeds, and its gain over another where both have a seed."""
    validation = np.mean([float(row["validation_dice"] or "nan") for row in mine.values()])
    line, test = f"{validation:>10.3f}  ", np.array([cases(row) for row in mine.values()])
    if test.size:
        line += f"{_interval(test):<24} "
    both = sorted(set(mine) & set(others))
    if test.size and both:
        line += _interval(np.array([cases(mine[seed]) - cases(others[seed]) for seed in both]), sign=True)
    return line


def _preferred(rows: Sequence[Row]) -> list[Row]:
    """Return of each run the row that is best on validation patients."""
    found: dict[tuple[str, ...], Row] = {}
    for row in sorted(rows, key=lambda row: float(row["validation_dice"] or 0)):
        found[row["method"], row["labelled"], row["seed"]] = row
    return list(found.values())


def per_seed(rows: Sequence[Row], method: str, budget: int) -> dict[str, Row]:
    found = {row["seed"]: row for row in rows if row["method"] == method and int(row["labelled"]) == budget}
    return dict(sorted(found.items()))  # an interval drawn by chance must not hang on who came first


def cases(row: Row) -> np.ndarray:
    """Return the Dice of each test patient."""
    return np.array([float(value) for value in row["cases"].split()])


def interval(values: np.ndarray, draws: int = DRAWS) -> tuple[float, float, float]:
    """Return the mean of (seeds, patients) and its 95 % interval, by bootstrap over seeds and over patients."""
    chance = np.random.default_rng(0)
    seeds, patients = values.shape
    means = [
        values[np.ix_(chance.integers(0, seeds, seeds), chance.integers(0, patients, patients))].mean()
        for _ in range(draws)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def _interval(values: np.ndarray, sign: bool = False) -> str:
    mean, low, high = interval(values)
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})" if sign else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def describe_judge(choice: Choice) -> Iterator[str]:
    """Yield, for every budget, how well scores tell good masks from bad ones: means over the seeds."""
    groups: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for row in choice.rows():
        if row["judge"]:
            pairs = (word.split("=") for word in row["judge"].split())
            groups[row["method"], int(row["labelled"])].append({name: float(value) for name, value in pairs})
    for (method, budget), found in sorted(groups.items()):
        yield f"{method}, {budget} labelled patients, {len(found)} seeds"
        for name in dict.fromkeys(name for each in found for name in each):
            values = [each[name] for each in found if name in each and each[name] == each[name]]
            if values:
                yield f"  {name:<22} {np.mean(values):.3f}   ({min(values):.3f} to {max(values):.3f})"


def draw_budgets(choice: Choice, picture: Path) -> Path:
    """Draw Dice over labelled patients, one line a method, a band of one standard error over the seeds."""
    rows, (figure, axes) = choice.rows(), _canvas()
    for method in choice.methods:
        budgets = sorted({int(row["labelled"]) for row in rows if row["method"] == method})
        dice = [[float(row["test_dice"]) for row in per_seed(rows, method, budget).values()] for budget in budgets]
        _line(axes, budgets, dice, method)
    axes.set_xlabel("labelled patients")
    axes.set_xticks(sorted({int(row["labelled"]) for row in rows}))
    return _save(figure, axes, picture)


def draw_minutes(choice: Choice, picture: Path) -> Path:
    """Draw Dice over minutes of one processor core, one line a method."""
    rows, (figure, axes) = choice.rows(last=False), _canvas()
    for method in choice.methods:
        mine = [row for row in rows if row["method"] == method]
        steps = sorted({int(row["step"]) for row in mine})
        at = [[row for row in mine if int(row["step"]) == step] for step in steps]
        minutes = [float(np.mean([float(row["cpu_seconds"]) for row in group])) / 60 for group in at]
        _line(axes, minutes, [[float(row["test_dice"]) for row in group] for group in at], method)
    axes.set_xlabel("minutes of one processor core")
    return _save(figure, axes, picture)


def _canvas() -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(7.5, 4.5), dpi=130)


def _line(axes: Any, places: Sequence[float], values: Sequence[Sequence[float]], name: str) -> None:
    if not places:
        return
    means = np.array([np.mean(group) for group in values])
    errors = np.array([np.std(group, ddof=1) / len(group) ** 0.5 if len(group) > 1 else 0.0 for group in values])
    (drawn,) = axes.plot(places, means, marker="o", label=name, linewidth=2.6 if name == "segmatch" else 1.4)
    axes.fill_between(places, means - errors, means + errors, color=drawn.get_color(), alpha=0.12, linewidth=0)


def _save(figure: Any, axes: Any, picture: Path) -> Path:
    axes.set_ylabel("volumetric Dice, mean of unseen patients")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(picture)
    return picture
