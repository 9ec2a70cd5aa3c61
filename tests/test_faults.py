"""The campaigns of benchmarks/faults in short: kills, failing writes, two writers, flipped bits, lost databases."""

import shutil
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[1] / "benchmarks" / "faults"
unix = pytest.mark.skipif(sys.platform == "win32", reason="the campaigns fork and kill as Unix does")


@pytest.fixture
def campaign(monkeypatch):
    """Run a campaign in a process that has imported it by name, as the command does."""
    monkeypatch.syspath_prepend(str(FAULTS))

    def run(name, count):
        import importlib

        rows = list(importlib.import_module(name).campaign(count))
        assert rows
        assert [text for _, wrong in rows for text in wrong] == []
        return {row["what"]: row for row, _ in rows}

    return run


@unix
def test_200_kills_lose_nothing(campaign):
    """Painting, saving, deciding, training, checkpoints, recovery and migration, killed at random moments."""
    rows = campaign("kill", 200)
    assert sum(row["runs"] for row in rows.values()) == 200
    assert rows["kill -9: paint"]["checked"] > 60, "the children must get something done before they die"


@unix
@pytest.mark.parametrize(("name", "count"), [("primitives", 25), ("writers", 40), ("rebuild", 40), ("bitflips", 25)])
def test_campaign_in_short(campaign, name, count):
    """What the name says, on a sample of the places where it can go wrong."""
    campaign(name, count)


@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc and Linux")
def test_failing_system_calls(campaign):
    """A sample of SQLite's own writes, syncs and deletions, too."""
    campaign("syscalls", 40)
