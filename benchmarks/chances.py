"""At what evidence half of the masks are good, and what an examination and people's decisions make of it.

``python benchmarks/chances.py LGG --image 'flair={case}/flair.nii.gz' --mask '{case}/mask.nii.gz'``

SegMatch trains as in ``segmatch benchmark``. At every mark the judge is examined, and other patients say the truth:
both get a logistic rule without a prior. By such rows of validation patients the prior was chosen (``of_masks`` in
``calibration.py``). With ``--decided 0,20`` it is examined again after somebody who knows the truth has accepted or
rejected so many proposals, drawn by chance or the likeliest of four times as many; means of five draws. With
``--held 0,1,3`` it is examined by so many validation cases as well, drawn five times (``--on test``).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import append

from napari_segmatch.benchmark.cases import load, split
from napari_segmatch.benchmark.judging import judged_slices
from napari_segmatch.benchmark.rivals import METHODS
from napari_segmatch.benchmark.runs import Bench, prepared
from napari_segmatch.config import configure
from napari_segmatch.engine.answers import Held
from napari_segmatch.engine.calibration import Judged, Prior, calibration_error, fit_rule
from napari_segmatch.engine.duties import is_examined_at
from napari_segmatch.engine.judge import EXAMINED
from napari_segmatch.engine.lessons import Lessons, quality_of, weights_of
from napari_segmatch.engine.prepare import to_network, with_neighbours
from napari_segmatch.io import find_cases

NOTHING_KNOWN = Prior(3.0, 2.0, 1.5, 5.0)
DRAWS = 5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image", required=True)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--classes", default="lesion")
    parser.add_argument("--strata", default="")
    parser.add_argument("--on", default="validation", help="who says the truth: validation, test, pool (unlabelled)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labelled", type=int, default=5)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--marks", default="100,200,300,400", help="steps; the last ends the run")
    parser.add_argument("--methods", default="segmatch", help="for parts.py")
    parser.add_argument("--decided", default="0", help="numbers of decisions")
    parser.add_argument("--held", default="", help="numbers of validation cases")
    return parser.parse_args()


def material(given):
    name, pattern = given.image.split("=")
    classes = tuple(given.classes.split(","))
    cases = load(find_cases(given.folder, {name: pattern}, given.mask), [name], len(classes))
    return Bench(cases, split(cases, 20, 15, given.strata), (name,), classes, given.strata, "cpu", tuning=True)


def half(evidence, good):
    """The evidence at which one mask in two is good, and the slope there."""
    slope, constant = fit_rule(Judged.of_cases([(evidence, good)], 1e6), NOTHING_KNOWN).tolist()
    return {"half": round(-constant / slope, 2), "slope": round(slope, 2)}


def examined(learner, data):
    """What the judge's examination meets: evidence, and whether the mask was good."""
    judge, met = learner.selector, []
    learn = judge._learn_masks
    judge._learn_masks = lambda *given: (met.append(given), learn(*given))
    learner.examine(data)
    del judge._learn_masks
    return met[0][0][:2] if met else (torch.zeros(0), torch.zeros(0, dtype=torch.bool))


def proposals(learner, data, bench, count, chance):
    """Of proposals drawn by chance that segment something: margins, which classes are good, and their cases."""
    found, truths = [], {}
    for row in data.unlabelled[torch.randperm(len(data.unlabelled), generator=chance)].tolist():
        images = data.slices(torch.tensor([row]))
        look = learner.look(images)
        (margins,) = learner.margins(learner.select(images, look))
        if all(margin is None for margin in margins):
            continue
        case, z = data.regions[row].case, data.regions[row].z
        if case not in truths:
            truth = torch.from_numpy(np.ascontiguousarray(bench.cases[case].truth))
            truths[case] = data.frames[case].shrink_labels(truth, learner.classes)
        margins = [np.nan if margin is None else margin for margin in margins]
        found.append((margins, quality_of(look.labels[0], truths[case][z], learner.classes)[1:], case))
        if len(found) == count:
            break
    return found


def lessons(proposals):
    margins, good, cases = (list(values) for values in zip(*proposals, strict=True))
    rows, margins, good = torch.zeros(len(good), dtype=torch.long), torch.tensor(margins), torch.tensor(good)
    return Lessons(rows, rows[:, None, None] > 0, good.all(1).float(), good, margins, weights_of(margins, cases))


def on_patients(learner, bench, names):
    """What the judge says of the masks of lesions of some patients, and what is true of them."""
    rows = []
    for name in names:
        slices, frame = to_network(bench.cases[name].volume.pixels, learner.config.size)
        rows += [row for row in judged_slices(learner, slices, frame, bench.cases[name].truth) if row["lesion"]]
    chance = np.array([row["score"] for row in rows])
    slope, constant = learner.selector.mask_rule.tolist()
    evidence = (torch.logit(torch.from_numpy(chance), eps=1e-9) - constant) / slope
    return evidence, np.array([row["dice"] >= 0.8 for row in rows])


def promised(learner, evidence, good):
    """How the chances that today's rule gives agree with the truth, and what is accepted by them."""
    slope, constant = learner.selector.mask_rule.tolist()
    chance = torch.sigmoid(slope * evidence + constant).numpy()
    report = learner.selector.report
    accepted = chance > report.tau if report.proven else np.zeros(len(good), bool)
    return {
        "proven": float(report.proven), "calibration_error": calibration_error(chance, good),
        "promised": chance.mean(), "accepted": accepted.mean(),
        "precision": good[accepted].mean() if accepted.any() else np.nan,
    }  # fmt: skip


def mean(values):
    """The mean of those that are numbers."""
    known = np.array(values)[~np.isnan(values)]
    return round(float(known.mean()), 3) if len(known) else ""


def some_held(learner, bench, count, chance):
    """Slices of so many validation patients, as a run would draw them."""
    images, labels = [], []
    for index in torch.randperm(len(bench.split.validation), generator=chance)[:count].tolist():
        case = bench.cases[bench.split.validation[index]]
        slices, frame = to_network(case.volume.pixels, learner.config.size)
        rows = torch.randperm(len(slices), generator=chance)[: -(-EXAMINED // count)]
        images.append(with_neighbours(slices, learner.neighbours, frame)[rows])
        labels.append(frame.shrink_labels(torch.from_numpy(np.ascontiguousarray(case.truth)), learner.classes)[rows])
    return Held(torch.cat(images), torch.cat(labels), count)


def held_out(learner, data, bench, counts, patients):
    """What chances are worth that were examined by validation cases as well."""
    truths = {on: on_patients(learner, bench, names) for on, names in patients.items()}
    for count in counts:
        found = []
        for draw in range(DRAWS if count else 1):
            chance = torch.Generator().manual_seed(1000 * learner.config.seed + draw)
            learner.examine(data, some_held(learner, bench, count, chance) if count else None)
            found.append({on: promised(learner, *truth) for on, truth in truths.items()})
        for on, (_, good) in truths.items():
            about = {"step": learner.step, "on": on, "masks": len(good), "good": mean(good), "held": count}
            yield about | {name: mean([each[on][name] for each in found]) for name in found[0][on]}


def measured(learner, data, bench, decided, patients):
    known, right = examined(learner, data)
    row = {"step": learner.step, "usual": round(float(learner.selector.usual), 2)}
    row |= {f"examined_{name}": value for name, value in half(known, right).items()}
    truths = {on: on_patients(learner, bench, names) for on, names in patients.items()}
    for count, chosen in [(number, way) for number in decided for way in ("chance", "best")[: 1 + (number > 0)]]:
        found = []
        for draw in range(DRAWS if count else 1):
            chance = torch.Generator().manual_seed(1000 * learner.config.seed + draw)
            many = proposals(learner, data, bench, count if chosen == "chance" else 4 * count, chance) if count else []
            data.lessons = lessons(sorted(many, key=lambda item: -np.nanmin(item[0]))[:count]) if many else None
            learner.examine(data)
            found.append({on: promised(learner, *truth) for on, truth in truths.items()})
        data.lessons = None
        learner.examine(data)
        for on, (evidence, good) in truths.items():
            turn = {f"true_{name}": value for name, value in half(evidence, torch.from_numpy(good)).items()}
            about = {"on": on, "masks": len(good), "good": mean(good), "decided": count, "chosen": chosen}
            yield row | turn | about | {name: mean([each[on][name] for each in found]) for name in found[0][on]}


def main():
    given = arguments()
    torch.set_num_threads(1)
    bench, marks = material(given), [int(mark) for mark in given.marks.split(",")]
    kind, needs = METHODS["segmatch"]
    config = configure(given.preset, device="cpu", seed=given.seed, size=given.size, **needs)
    labelled = bench.split.labelled(given.labelled, given.seed, given.strata)
    learner, data = prepared(bench, kind, config, labelled)
    patients = {on: [name for name in getattr(bench.split, on) if name not in labelled] for on in given.on.split(",")}
    about = {"data": given.folder.name, "labelled": given.labelled, "seed": given.seed}
    about |= {"preset": given.preset, "size": given.size, "steps": marks[-1]}
    while learner.step < marks[-1]:
        learner.learn(data, learner.step / marks[-1])
        if learner.step in marks and given.held:
            for row in held_out(learner, data, bench, map(int, given.held.split(",")), patients):
                print(append("chances_held", about | row), flush=True)
        elif learner.step in marks:
            for row in measured(learner, data, bench, map(int, given.decided.split(",")), patients):
                print(append("chances", about | row), flush=True)
        elif is_examined_at(learner.step):
            learner.examine(data)


if __name__ == "__main__":
    main()
