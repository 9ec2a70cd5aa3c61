"""The folder of a project, how it is made and opened: the ground of :class:`napari_segmatch.project.Project`."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ..errors import DiskProblem, ProjectError
from ..fsio import inside
from ..io import bad_name
from .checks import both_places, check_classes, check_names, own_place
from .objects import ObjectStore
from .records import to_meta
from .store import Store, create_database, half_made_name

DATABASE = "segmatch.db"

LOST = "is not where it was"
"""What is said of an image of which :meth:`ProjectFolder.is_lost` tells."""


class ProjectFolder:
    """A project's folder and database, open or made. See :class:`napari_segmatch.project.Project` for its rules."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        for name in ("objects", "runs", "journal", "backups"):
            inside(path, name)  # a link in the place of a folder leads out of the project
        self.objects = ObjectStore(path / "objects")
        self.classes, self.sequences, self.colours, self._key = to_meta(store.rows("SELECT key, value FROM meta"))

    @classmethod
    def create(cls, path: str | Path, classes: Sequence[str], sequences: Sequence[str]) -> Self:
        """Make a new project in an empty or new folder.

        Parameters
        ----------
        path
            The folder.
        classes
            Names of the structures to segment, at most 50; the first gets label 1.
        sequences
            Names of the MRI sequences; they become the network's channels, in this order.

        Raises
        ------
        ProjectError
            If the folder already holds something, or a name is missing, doubled or too many.
        """
        path = Path(path).absolute()  # somebody may change to another folder while it is open
        check_classes(classes)
        check_names("sequence", sequences)
        if trouble := bad_name(str(path.resolve())):
            raise ProjectError(trouble)
        meta = {"classes": list(classes), "sequences": list(sequences), "uuid": str(uuid.uuid4())}
        try:
            if path.exists() and (not path.is_dir() or set(path.iterdir()) - {half_made_name(path / DATABASE)}):
                raise ProjectError(
                    f"{path.resolve().name} is not empty: choose a new folder, or open the project that is in it."
                )
            path.mkdir(parents=True, exist_ok=True)
            home = {"home": path.resolve().as_posix()}  # images are found from there when the project is moved
            create_database(path / DATABASE, {key: json.dumps(value) for key, value in meta.items()} | home)
        except OSError as error:
            raise ProjectError(f"The project {path.resolve().name} cannot be made ({error.strerror}).") from error
        return cls(path, Store(path / DATABASE))

    @classmethod
    def open(cls, path: str | Path, readonly: str = "") -> Self:
        """Open an existing project.

        Parameters
        ----------
        readonly
            Why nothing may be written, as a sentence for whoever tries; empty if it may. A folder that the system
            does not let us write to is opened for reading by itself.

        Raises
        ------
        ProjectError
            If the folder is no project, is damaged, or was written by a newer version.
        """
        path = Path(path).absolute()
        if not path.is_dir():
            raise ProjectError(
                f"There is no project folder {path.name}: check the path, or make one with `segmatch new`."
            )
        if not readonly and not (os.access(path, os.W_OK) and os.access(path / DATABASE, os.W_OK | os.R_OK)):
            readonly = f"{path.resolve().name} lies where nothing can be written: it is open for viewing only."
        return cls(path, Store(path / DATABASE, readonly if (path / DATABASE).exists() else ""))

    @classmethod
    def look_at(cls, path: str | Path) -> Self:
        """Open a project to read from it alone, without waiting for who writes to it; otherwise as :meth:`open`."""
        try:
            return cls.open(path, f"{Path(path).name} is open to look at.")
        except DiskProblem:  # a kill has torn a write, which only who may write can take back
            return cls.open(path)

    @property
    def readonly(self) -> str:
        """Why nothing can be written, as a sentence; empty if it can."""
        return self.store.readonly

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_colours(self, colours: Mapping[str, str]) -> None:
        """Give classes colours, as "#rrggbb"; other classes keep what the window gives them."""
        self.colours = {name: colour for name, colour in colours.items() if name in self.classes}
        self.store.tell("meta", {"key": "colours", "value": json.dumps(self.colours)})

    def pseudonym(self, patient: str) -> str:
        """Return a name for a patient that tells patients apart and cannot be turned back."""
        return hashlib.blake2b(patient.encode(), digest_size=6, key=self._key[:64]).hexdigest()

    # where the images lie ---------------------------------------------------------------------------------

    def relative(self, path: Path) -> str:
        """Return an image's place as it is stored: from the project's folder, so that both can be moved together."""
        try:
            return Path(os.path.relpath(own_place(path), self.path.resolve())).as_posix()
        except ValueError:  # another drive
            return own_place(path).as_posix()

    def image_paths(self, case: str) -> dict[str, Path]:
        rows = self.store.rows("SELECT sequence, path FROM image WHERE case_id = ?", case)
        return {row["sequence"]: own_place(self.path / row["path"]) for row in rows}

    def is_lost(self, case: str) -> bool:
        """Whether an image of a case is not where it was."""
        return not all(path.exists() for path in self.image_paths(case).values())

    def all_image_paths(self) -> set[Path]:
        """Every image file that the project refers to, and what it leads to if it is a link."""
        rows = self.store.rows("SELECT path FROM image")
        return {place for row in rows for place in both_places(self.path / row["path"])}

    def without_names(self, text: str) -> str:
        """Return a text with the places of images replaced by their case's id: a file's name can name a patient."""
        rows = self.store.rows("SELECT case_id, path FROM image ORDER BY length(path) DESC")
        names = Counter(Path(row["path"]).name for row in rows)
        for row in rows:
            path = own_place(self.path / row["path"])
            telling = [path.name] if names[path.name] == 1 < len(rows) else []  # one that many cases have tells nothing
            target = path.resolve()
            for place in (str(path), str(target), str(path.parent), str(target.parent), row["path"], *telling):
                text = text.replace(place, f"[{row['case_id']}]")
        return text
