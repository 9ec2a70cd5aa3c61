"""Three hundred broken files of each format; benchmarks/mutated_files.py tries ten thousand."""

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("highdicom")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from mutated_files import attack, seeds


def test_a_broken_file_of_any_format_is_read_or_refused_and_soon(tmp_path):
    """Nothing but an ImportProblem comes out of the readers, in under five seconds."""
    for name, (path, data) in seeds(tmp_path).items():
        read, refused, slowest = attack(path, data, 300, random.Random(2))
        assert read > 10 < refused, name
        assert slowest < 5, name
