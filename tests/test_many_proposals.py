"""Half a million proposals: tables say what objects would say, and a word on one of them touches few of the others."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtTest import QTest

from napari_segmatch.columns import Columns, Some
from napari_segmatch.config import configure
from napari_segmatch.errors import ProjectError
from napari_segmatch.events import PseudoMask
from napari_segmatch.ledger import Ledger
from napari_segmatch.project import Project
from napari_segmatch.project.records import geometry_text, to_numbers
from napari_segmatch.ranking import (
    BLIND,
    ORDERS,
    ROUGH_AREA,
    VISIT,
    Choice,
    Pace,
    belongs,
    gain_in,
    is_blind,
    is_spot_check,
    nearest,
    select,
    selected,
    spot_checks,
    threshold,
)
from napari_segmatch.types import Case, Geometry, Proposal, Region
from napari_segmatch.ui.cases_model import CasesModel
from napari_segmatch.ui.queue import Heading, QueueModel
from napari_segmatch.ui.queue_view import QueueView

SHAPE = (40, 8, 8)
GEOMETRY = Geometry(SHAPE, np.eye(4)[[2, 1, 0, 3]])


def many(n=600, seed=0):
    """Proposals of ten cases in an order of their own, with everything that may be unknown."""
    chance = np.random.default_rng(seed)
    words = (None, None, "accepted", "rejected", "corrected", "deferred")
    return [
        Proposal(
            int(id), int(chance.integers(1, 4)), Region(f"case-{id % 10}", int(id) // 10), float(chance.random()),
            "accepted" if chance.random() > 0.4 else "rejected", 5, 7, words[chance.integers(6)],
            None if chance.random() < 0.2 else int(chance.integers(0, 900)),
            None if chance.random() < 0.2 else float(chance.random()),
        )
        for id in chance.permutation(n) + 1
    ]  # fmt: skip


# tables --------------------------------------------------------------------------------------------------


def test_a_table_gives_back_what_was_put_in():
    items = many()
    table = Columns.of(items)
    assert list(table) == items and table[3] == items[3] and list(table[5:9]) == items[5:9]
    assert list(table.by_id()) == sorted(items, key=lambda item: item.id)
    assert list(Columns.of([])) == [] and list(Columns.of([]).by_id().places([4])) == [-1]
    some = Some.of(items)
    assert list(some) == items and list(some.columns) == items and some[-1] == items[-1]
    assert list(some[10:20]) == items[10:20] and Columns.of(Ledger(items)) is not None


def test_a_table_finds_proposals_by_their_numbers():
    items = many()
    table = Columns.of(items).by_id()
    assert [table.get(item.id) for item in items] == items
    assert table.get(0) is None and table.get(10**9) is None
    assert list(table.places([10**9, 1, 0, 600])) == [-1, 0, -1, 599]


def test_a_table_takes_in_others_of_cases_that_it_has_not_heard_of():
    items = many()
    table = Columns.of(items).by_id()
    newer = Proposal(1, 9, Region("case-1", 0), 0.25, "rejected", 50, 8, "deferred")
    stranger = Proposal(5000, 9, Region("case-10", 3), 0.5, "accepted", 50, 8)
    joined = table.having([newer, stranger])
    expected = [newer, *sorted((item for item in items if item.id != 1), key=lambda item: item.id), stranger]
    assert list(joined) == expected and joined.cases == sorted(joined.cases)
    assert table.get(1) in items, "the table before is as it was"


def judged_in(items):
    """Count the proposals of each case that segment something and are judged."""
    return Counter(item.case for item in items if item.decision not in (None, "deferred") and item.area != 0)


def _slow_select(items, choice, pace):
    """What :func:`select` says, one proposal after the other."""

    def shuffle(number):
        return (number * 2654435761 % 2**32) >> 8

    line = threshold(items)

    def score_of(item):
        return shuffle(item.id + 104729) % 1000 / 1000 if is_blind(item) else item.score

    def worth(item):
        area = ROUGH_AREA if item.area is None else item.area
        wrong = 1 - score_of(item)
        edge = 2 * math.sqrt(math.pi * area)
        seconds = (1 - wrong) * pace.accept + wrong * (pace.accept + pace.correct + edge / 25)
        return (0.05 + wrong) * math.sqrt(1 + area), seconds

    def gain(item):
        return worth(item)[0] / worth(item)[1]

    listed = [item for item in items if belongs(item, choice)]
    judged, seen, rate = judged_in(items), Counter(), {}
    parties, last = {}, {}
    for item in sorted((item for item in listed if item.decision is None), key=gain, reverse=True):
        visit = seen[item.case] // VISIT, judged[item.case] // VISIT
        seen[item.case] += 1
        party = last.get((item.case, visit), [])
        teaches, seconds = (sum(values) for values in zip(*map(worth, party), strict=True)) if party else (0.0, 0.0)
        if not party or gain(item) <= teaches / (pace.another_case + seconds):
            party = last[item.case, visit] = parties[item.case, sum(visit), item.id] = []
        party.append(item)
    for key, party in [*parties.items(), *(((item.case, 0), [item]) for item in listed if item.decision is not None)]:
        teaches, seconds = (sum(values) for values in zip(*map(worth, party), strict=True))
        rate |= {item.id: teaches / (pace.another_case + seconds) / (1 + key[1]) for item in party}

    def key(item):
        agreement = None if is_blind(item) else item.agreement
        return {
            "best use of time": (-round(rate[item.id], 9), item.case, item.z),
            "worth a look": abs(score_of(item) - line),
            "disagreement": 1.0 if agreement is None else -abs(score_of(item) - agreement),
            "surest first": -score_of(item),
            "least sure first": score_of(item),
            "by case": (item.case, item.z),
            "random": shuffle(item.id + 7919),
        }[choice.order]

    return sorted(listed, key=key)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("which", ["all", "accepted", "rejected", "mine"])
def test_the_queue_s_order_is_that_of_one_proposal_after_the_other(order, which):
    items, pace = many(), Pace(2.0, 9.0)
    for undecided in (True, False):
        choice = Choice(which, undecided, order)
        expected = _slow_select(items, choice, pace)
        assert select(items, choice, pace) == expected
        in_order = _slow_select(sorted(items, key=lambda item: item.id), choice, pace)
        assert list(selected(Ledger(items), choice, pace)) == in_order


def test_what_a_case_can_teach_is_the_sum_over_its_open_proposals():
    items, pace = many(), Pace()
    waiting = [item for item in items if item.decision is None and item.area != 0]
    expected, before, judged = {}, Counter(), judged_in(items)
    alone = {item.id: gain_in([item], pace)[item.case] for item in waiting}
    for item in sorted(waiting, key=lambda item: alone[item.id], reverse=True):
        gain = alone[item.id] / (1 + judged[item.case] // VISIT + before[item.case] // VISIT)
        expected[item.case] = expected.get(item.case, 0) + gain
        before[item.case] += 1
    assert gain_in(items, pace) == pytest.approx(expected) and gain_in([], pace) == {}


def test_the_open_proposal_nearest_to_the_threshold():
    items = many()
    waiting = [item for item in items if item.decision is None]
    best = min(waiting, key=lambda item: abs(item.score - 0.4))
    assert nearest(Columns.of(items), 0.4) == best
    assert nearest(Columns.of(items), 0.4, but=best.id) != best
    assert nearest(Columns.of([best]), 0.4, but=best.id) is None and nearest(Columns(), 0.4) is None


def test_the_ledger_counts_at_once_as_it_counts_one_by_one():
    items = many()
    book, slow = Ledger(items), Ledger()
    for item in items:
        slow._count(item, 1)
    assert +book.counts == +slow.counts and +book.open_in == +slow.open_in
    for case in {item.case for item in items}:
        assert book.mean_score(case) == pytest.approx(slow.mean_score(case))
    fresh = {"case-3": [], "case-4": list(book.of_case("case-4").values()), "case-99": [
        Proposal(9000, 1, Region("case-99", 0), 0.5, "accepted", 1, 1)]}  # fmt: skip
    assert book.renew(fresh) == {"case-3", "case-99"} and book.renew(fresh) == set()
    again = Ledger(list(book))
    assert +book.counts == +again.counts and +book.open_in == +again.open_in and not book.of_case("case-3")
    assert len(book.of_case("case-99")) == 1 and len(book.of_case("case-4")) == 60


# the project's table -------------------------------------------------------------------------------------


def _project(path, cases):
    """A project with proposals for every slice of its cases, written as a training writes them."""
    project = Project.create(path, ["lesion"], ["flair"])
    with project.store.atomic():
        for number in range(1, cases + 1):
            case = {"number": number, "id": f"case-{number:04d}", "patient": f"p{number}", "validation": 0,
                    "geometry": geometry_text(GEOMETRY), "added_at": "2026-11-25"}  # fmt: skip
            project.store.tell("case", {"case": case, "images": []})
        run, labels = project.new_run(configure("quick")), np.ones(SHAPE[1:], np.uint8)
        chance = np.random.default_rng(0)
        for number in range(1, cases + 1):
            masks = [PseudoMask(Region(f"case-{number:04d}", z), labels, float(chance.random()), "accepted")
                     for z in range(SHAPE[0])]  # fmt: skip
            project.add_proposals(run, 1, 1, masks)
    project.set_run_state(run.id, "finished")
    return project


def test_the_table_of_all_cases_says_what_each_case_says(tmp_path):
    """Of each slice the proposal that was judged, else the newest; none of finished slices and of removed cases."""
    with _project(tmp_path / "p", 4) as project:
        items = project.proposals()
        labels = np.ones(SHAPE[1:], np.uint8)
        newer = [PseudoMask(Region("case-0002", z), labels, 0.5, "rejected") for z in (3, 4, 5)]
        project.decide(items[43], "rejected")
        project.decide(items[44], "deferred")
        late = project.add_proposals(project.run(), 2, 1, newer)
        project.save_mask("case-0003", np.zeros(SHAPE, np.uint8), done=[0, 7])
        project.remove_case("case-0004")
        table = project.proposal_table()
        by_case = [item for case in project.cases for item in project.proposals(case=case.id)]
        assert list(table) == sorted(by_case, key=lambda item: item.id) == project.proposals()
        assert {item.case for item in table} == {"case-0001", "case-0002", "case-0003"}
        second = {item.z: item for item in project.proposals(case="case-0002")}
        assert second[3].id == items[43].id and second[3].decision == "rejected", "it was judged"
        assert [second[4].id, second[5].id] == late[1:], "one that was put off gives way to a newer one"
        assert len(project.proposals(case="case-0003")) == 38
        assert {item.verdict for item in project.proposals("rejected")} == {"rejected"}
        assert len(project.proposals(undecided=True)) == len(project.proposals()) - 1


def test_proposals_that_wait_are_counted_as_the_table_has_them(tmp_path):
    """After any words, newer proposals, labels, a case that goes and comes back, and a class that comes."""
    chance, found = np.random.default_rng(1), []
    empty = np.zeros(SHAPE[1:], np.uint8)
    with _project(tmp_path / "p", 5) as project:
        for change in (
            lambda: project.remove_case("case-0004"),
            lambda: project.restore_case("case-0004"),
            lambda: project.set_classes(["lesion", "edema"]),
            lambda: None,
        ):
            items = project.proposals()
            for place in chance.permutation(len(items))[:40].tolist():
                word = ("accepted", "rejected", "deferred", None)[place % 4]
                project.take_back(items[place]) if word is None else project.decide(items[place], word)
            newer = [Region(f"case-000{1 + z % 5}", int(z)) for z in chance.integers(0, SHAPE[0], 12)]
            masks = [PseudoMask(region, empty + np.uint8(1), 0.5, "rejected") for region in newer]
            project.add_proposals(project.run(), 2, 1, masks)
            some = {int(z): empty for z in chance.integers(0, SHAPE[0], 6)}
            project.save_slices("case-0003", some, done=[*some][:3], reopen=[*some][3:])
            for then in (change, lambda: None):
                found.append(Counter(item.case for item in project.proposals(undecided=True)))
                assert project.waiting(project.cases) == found[-1]
                then()
    assert [len(waiting) for waiting in found] == [5, 4, 4, 5, 5, 0, 5, 5], "each change is seen"


def test_a_damaged_row_is_a_sentence():
    with pytest.raises(ProjectError, match="doctor --repair"):
        to_numbers([(1, 1, "case-1", 0, None, 1, 1, 1, -1, None), (2, 1, "case-1", 0, "?", 1, 1, 1, -1, None)])


def _work(project, job):
    """Count how much SQLite does for a job."""
    ticks = []
    project.store._db.set_progress_handler(lambda: ticks.append(1), 10)
    job()
    project.store._db.set_progress_handler(None, 0)
    return len(ticks)


def _one_decision(project):
    """What the saving thread and the window ask of a project when somebody accepts a proposal, and takes it back."""
    item = project.proposals(case="case-0001", undecided=True)[0]

    def job():
        project.decide(item, "accepted")
        project.case(item.case)
        project.proposals(case=item.case)
        project.asides()
        project.revert(project.undoable()[0])

    project.undoable()
    return _work(project, job)


def test_a_decision_asks_the_database_no_more_in_a_larger_project(tmp_path):
    found = []
    for cases in (3, 60):
        with _project(tmp_path / str(cases), cases) as project:
            for item in project.proposals()[SHAPE[0] :]:
                if item.z < 3:
                    project.decide(item, "rejected")
            found.append(_one_decision(project))
    assert found[1] < 1.2 * found[0]


# the queue -----------------------------------------------------------------------------------------------


class _Counting(QueueModel):
    asked = 0

    def rowCount(self, parent=QModelIndex()):  # noqa: B008
        self.asked += 1
        return super().rowCount(parent)


class _NoPictures:
    def small(self, item):
        return None


def _model(items, grouped=False, kind=QueueModel):
    model = kind(lambda item: item.z, lambda item: True)
    model.show(items, grouped)
    return model


def _rows(model):
    return [row.case if isinstance(row, Heading) else row.id for row in map(model.row, range(model.rowCount()))]


def test_the_queue_s_rows_and_headings_come_and_go():
    items = sorted(many(60), key=lambda item: item.region)
    model = _model(items, grouped=True)
    by_case = {case: [item.id for item in items if item.case == case] for case in sorted({i.case for i in items})}
    assert _rows(model) == [row for case, ids in by_case.items() for row in (case, *ids)]
    assert model.row(0).count == len(by_case["case-0"]) and [item.id for item in model.items] == [i.id for i in items]
    assert [item.id for item in model.of_cases({"case-2", "none"})] == by_case["case-2"]
    assert all(model.row(model.row_of(item.id)) == item for item in items)
    assert all(model.items[model.place_of(item.id)] == item for item in items)
    assert model.row_of(777) is None and model.place_of(777) == -1
    for few in (by_case["case-0"], [id for case in list(by_case)[1:9] for id in by_case[case]]):
        model.remove(few)
    assert _rows(model) == ["case-9", *by_case["case-9"]], "a heading goes with the last one under it"
    stranger = Proposal(999, 1, Region("elsewhere", 0), 0.5, "accepted", 1, 1)
    model.insert([stranger, items[-1]], model.rowCount())
    assert _rows(model) == ["case-9", *by_case["case-9"], 999] and model.items[-1] == stranger
    newer = Proposal(1000, 2, stranger.region, 0.1, "rejected", 2, 2)
    model.change([(999, newer), (12345, stranger)])
    assert model.row(model.rowCount() - 1) == newer and model.row_of(999) is None


def test_a_row_that_goes_is_no_reason_to_look_at_all_the_others(qapp, monkeypatch):
    """Neither Qt's view nor the model nor the ledger may go through the list for one decision."""
    made = []
    make = Columns._item
    monkeypatch.setattr(Columns, "_item", lambda self, row: made.append(1) or make(self, row))
    book = Ledger(many(4000))
    model = _model(selected(book, Choice()), kind=_Counting)
    view = QueueView(model, _NoPictures())
    view.resize(300, 400)
    view.show()
    qapp.processEvents()
    made.clear()
    model.asked = 0
    for _ in range(5):
        item = model.items[100]
        book.mark([item.id], "accepted")
        model.change([(item.id, book.get(item.id))])
        model.remove([item.id])
        view.setCurrentIndex(model.index(100))
        view.scrollTo(model.index(100))
        qapp.processEvents()
    assert model.asked < 1000 and len(made) < 1000
    view.close()


def test_the_next_open_proposal_is_found_without_making_an_object_of_each(monkeypatch):
    """Somebody goes through what is judged already: behind their last word there may be nothing open."""
    judged = [replace(item, decision="rejected") for item in many(3000)]
    waiting = [replace(judged[place], decision=None) for place in (1400, 2900)]
    made = []
    make = Columns._item
    monkeypatch.setattr(Columns, "_item", lambda self, row: made.append(1) or make(self, row))
    some = Some.of([*judged[:1400], waiting[0], *judged[1401:2900], waiting[1], *judged[2901:]])
    assert some.first_open() == waiting[0] and some[1401:].first_open() == waiting[1]
    assert some.first_open({waiting[0].id}) == waiting[1] and some.first_open({item.id for item in waiting}) is None
    assert some[2901:].first_open() is None and some[:0].first_open() is None and len(made) == 3


def test_review_opens_without_making_an_object_of_each(dock, proposed, settle, monkeypatch):
    """Nobody has had a case segmented: to find where to begin, the queue is not gone through."""
    dock.session.open_project(proposed)
    found = [replace(item, run=1, region=Region("case-02", item.z % 8), decision=None) for item in many(3000)]
    dock.session.proposals = Ledger(Columns.of(found))
    dock.show_tab("Review")
    dock.show_tab("Cases")
    made, make = [], Columns._item
    monkeypatch.setattr(Columns, "_item", lambda self, row: made.append(1) or make(self, row))
    dock.show_tab("Review")
    assert len(dock.review.model.items) > 1000 and len(made) < 500


@pytest.mark.parametrize("grouped", [False, True])
def test_home_and_end_go_to_the_ends_of_the_queue(qapp, grouped):
    model = _model(sorted(many(60), key=lambda item: item.region), grouped)
    view = QueueView(model, _NoPictures())
    view.setCurrentIndex(model.index(5))
    first = int(grouped)  # the name of its case stands above it
    for key, row in ((Qt.Key.Key_End, model.rowCount() - 1), (Qt.Key.Key_Home, first), (Qt.Key.Key_Down, first + 1)):
        QTest.keyClick(view, key)
        assert view.currentIndex().row() == row
    assert [index.row() for index in view.selectedIndexes()] == [first + 1], "nobody selects a heading"
    model.show(())
    QTest.keyClick(view, Qt.Key.Key_End)
    assert not view.currentIndex().isValid()


# the table of cases --------------------------------------------------------------------------------------


def test_the_table_of_cases_stays_sorted_and_selected_as_facts_change(qapp):
    cases = [Case(f"case-{n}", f"p{n}", ("flair",), GEOMETRY) for n in range(5)]
    items = [Proposal(100 * n + k, 1, Region(f"case-{n}", k), 0.5, "accepted", 1, 1)
             for n in range(5) for k in range(1, n + 2)]  # fmt: skip
    model, book = CasesModel(lambda case: None), Ledger(items)
    model.show(cases, book)
    model.sort(1)
    assert [case.id for case in model.cases] == [f"case-{n}" for n in range(5)]
    kept = QPersistentModelIndex(model.index(4, 0))
    book.mark([item.id for item in items if item.case == "case-4"], "rejected")
    model.show(cases, book)
    assert [case.id for case in model.cases] == ["case-4", "case-0", "case-1", "case-2", "case-3"]
    assert kept.row() == 0 and model.cases[kept.row()].id == "case-4"


def test_what_is_selected_stays_selected_while_cases_are_added(qapp):
    """Nobody is thrown back to the top of the table because a further scan has been read."""
    cases = [Case(f"case-{n}", f"p{n}", ("flair",), GEOMETRY) for n in range(6)]
    model, resets = CasesModel(lambda case: None), []
    model.modelReset.connect(lambda: resets.append(1))
    model.show([cases[1], cases[4]], Ledger())
    kept = QPersistentModelIndex(model.index(1, 0))
    model.show(cases[:5], Ledger())
    model.show(cases, Ledger())
    assert [case.id for case in model.cases] == [f"case-{n}" for n in range(6)]
    assert model.cases[kept.row()].id == "case-4"
    assert len(resets) == 1
    model.show(cases[:3], Ledger())
    assert model.rowCount() == 3 and not kept.isValid()


def test_one_in_five_is_a_spot_check_in_tables_too():
    ids = np.arange(1, 5001)
    found = spot_checks(ids)
    assert [is_spot_check(Proposal(int(id), 1, Region("a", 0), 0.5, "accepted", 1, 1)) for id in ids] == list(found)
    assert 0.9 < BLIND * found.mean() < 1.1
