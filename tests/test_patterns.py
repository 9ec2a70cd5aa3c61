"""Finding the files of many cases from patterns."""

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_segmatch.errors import ImportProblem
from napari_segmatch.io import find_cases, parse_image_option


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_cases_are_found_and_sorted(tmp_path):
    """Each folder is a case; its files come by sequence."""
    touch(tmp_path, "b/flair.nii.gz", "a/flair.nii.gz", "a/mask.nii.gz", "notes.txt")
    first, second = find_cases(tmp_path, {"flair": "{case}/flair.nii.gz"}, "{case}/mask.nii.gz")
    assert (first.id, second.id) == ("a", "b")
    assert first.images == {"flair": tmp_path / "a/flair.nii.gz"}
    assert first.mask == tmp_path / "a/mask.nii.gz"
    assert second.mask is None


def test_a_case_may_lack_a_sequence(tmp_path):
    """One image is enough for a case; a mask alone is not."""
    touch(tmp_path, "a/flair.nii", "b/t1.nii", "c/mask.nii")
    cases = find_cases(tmp_path, {"flair": "{case}/flair.nii", "t1": "{case}/t1.nii"}, "{case}/mask.nii")
    assert [(case.id, sorted(case.images)) for case in cases] == [("a", ["flair"]), ("b", ["t1"])]


def test_the_id_may_stand_anywhere_and_must_agree(tmp_path):
    """Written twice, it is the same both times."""
    touch(tmp_path, "p1/p1_flair.nii", "p2/p9_flair.nii", "x/sub-p3/anat.nii")
    assert [c.id for c in find_cases(tmp_path, {"f": "{case}/{case}_flair.nii"})] == ["p1"]
    assert [c.id for c in find_cases(tmp_path, {"f": "x/sub-{case}/anat.nii"})] == ["p3"]


def test_a_star_stands_for_anything_but_a_slash(tmp_path):
    """Other characters stand for themselves, brackets and question marks too."""
    touch(tmp_path, "a/2024-01/flair.nii", "b/flair.nii", "[c]/x?.nii", "c/xy.nii")
    assert [c.id for c in find_cases(tmp_path, {"f": "{case}/*/flair.nii"})] == ["a"]
    assert [c.id for c in find_cases(tmp_path, {"f": "[{case}]/x?.nii"})] == ["c"]


def test_the_id_never_crosses_a_folder(tmp_path):
    """An id is one name; hidden files, which some systems scatter, are no cases."""
    touch(tmp_path, "a/b/flair.nii", "c/flair.nii", ".d/flair.nii")
    assert [c.id for c in find_cases(tmp_path, {"f": "{case}/flair.nii"})] == ["c"]


def test_patterns_may_leave_the_folder(tmp_path):
    """Masks often live beside the images' folder; a leading ./ changes nothing."""
    touch(tmp_path, "images/a.nii", "masks/a.nii")
    (case,) = find_cases(tmp_path / "images", {"f": "./{case}.nii"}, "../masks/{case}.nii")
    assert case.mask.resolve() == (tmp_path / "masks/a.nii").resolve()


@given(st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\*{}"), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_name_can_be_an_id(tmp_path_factory, name):
    """Spaces, accents, dots inside and brackets are part of the id."""
    root = touch(tmp_path_factory.mktemp("any"), f"case {name}/flair.nii")
    (case,) = find_cases(root, {"f": "case {case}/flair.nii"})
    assert case.id == name
    assert case.images["f"].is_file()


BAD = os.fsdecode(b"gr\xf6sse")
"""A name in Latin-1, as old archives have them."""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_no_text_is_left_out_with_a_sentence(tmp_path):
    """The other cases go on; a mask with such a name does not take its image along."""
    touch(tmp_path, "a/flair.nii", "a/mask.nii", "b/flair.nii", f"b/{BAD}_mask.nii", f"{BAD}/flair.nii")
    said = []
    found = find_cases(tmp_path, {"flair": "{case}/flair.nii"}, "{case}/*mask.nii", said.append)
    assert [(case.id, case.mask is not None) for case in found] == [("a", True), ("b", False)]
    assert said == [
        "Left out: gr?sse/flair.nii has a name that is not UTF-8: rename it.",
        "Left out: b/gr?sse_mask.nii has a name that is not UTF-8: rename it.",
    ]
    with pytest.warns(UserWarning, match="is not UTF-8"):
        find_cases(tmp_path, {"flair": "{case}/flair.nii"})


def test_two_files_for_one_place_are_refused(tmp_path):
    """A star that fits two files of a case would pick one at random."""
    touch(tmp_path, "a/flair_1.nii", "a/flair_2.nii")
    with pytest.raises(ImportProblem, match=r"Case a has two files.*flair_1\.nii and flair_2\.nii"):
        find_cases(tmp_path, {"f": "{case}/flair*.nii"})


def test_finding_nothing_says_what_was_looked_for(tmp_path):
    """The message repeats the pattern and the folder's name."""
    with pytest.raises(ImportProblem, match=r"looks like \{case\}/flair\.nii") as caught:
        find_cases(tmp_path, {"f": "{case}/flair.nii"})
    assert str(caught.value).startswith(f"Nothing in {tmp_path.name} ")
    with pytest.raises(ImportProblem, match="is not a folder"):
        find_cases(tmp_path / "absent", {"f": "{case}/flair.nii"})


@pytest.mark.parametrize("patterns", [({"f": "flair.nii"}, None), ({"f": "{case}.nii"}, "mask.nii")])
def test_a_pattern_without_an_id_is_refused(tmp_path, patterns):
    """It could not tell cases apart."""
    with pytest.raises(ImportProblem, match="does not say where the case's id stands"):
        find_cases(touch(tmp_path, "flair.nii"), *patterns)


def test_an_option_is_split_into_name_and_pattern():
    """Only the first = separates."""
    assert parse_image_option("flair={case}/flair.nii.gz") == ("flair", "{case}/flair.nii.gz")
    assert parse_image_option("T1 post+c={case}/flair.nii.gz") == ("T1 post+c", "{case}/flair.nii.gz")
    assert parse_image_option(" t1-post = {case}/a=b.nii ") == ("t1-post", "{case}/a=b.nii")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("{case}/flair.nii", "is no name=pattern"),
        ("flair=", "is no name=pattern"),
        ("={case}.nii", "is no name for a sequence"),
        ("a/b={case}.nii", "is no name for a sequence"),
        ("flair=flair.nii", "does not say where the case's id stands"),
    ],
)
def test_a_malformed_option_is_explained(option, says):
    """The message shows how to write it."""
    with pytest.raises(ImportProblem, match=says) as caught:
        parse_image_option(option)
    assert "flair={case}/flair.nii.gz" in str(caught.value)
