"""A project on a network drive or in a folder that a cloud service copies: one sentence, and on it goes."""

import sys
from pathlib import Path

import pytest
from helpers import small_project

from napari_segmatch.cli.verbs import app
from napari_segmatch.project import place
from napari_segmatch.project.place import place_warning
from napari_segmatch.session import Session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the table of mounts is Linux's")

MAC = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//anna@server/share on /Volumes/MRI share (smbfs, nodev, nosuid, mounted by anna)
"""


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Return a function that fakes the table of mounts: place and kind of each."""

    def fake(*mounts):
        table = tmp_path / "mounts"
        lines = [f"dev {str(point).replace(' ', chr(92) + '040')} {kind} rw 0 0" for point, kind in mounts]
        table.write_text("\n".join(["dev / ext4 rw 0 0", *lines]) + "\n")
        monkeypatch.setattr(place, "MOUNTS", table)

    return fake


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "fuse.rclone"])
def test_network_drives_are_told(mounted, tmp_path, kind):
    mounted((tmp_path / "my share", kind))
    warning = place_warning(tmp_path / "my share" / "glioma")
    assert warning.startswith(f"glioma lies on a network drive ({kind}): ")
    assert warning.count(". ") == 0
    assert place_warning(tmp_path / "my shareholders" / "glioma") == ""


def test_of_mounts_over_each_other_the_last_counts(mounted, tmp_path):
    mounted(
        (tmp_path, "nfs4"), (tmp_path / "scratch", "ext4"), (tmp_path / "later", "ext4"), (tmp_path / "later", "nfs")
    )
    assert place_warning(tmp_path / "scratch" / "glioma") == ""
    assert "network drive" in place_warning(tmp_path / "later" / "glioma")
    assert "network drive" in place_warning(tmp_path / "glioma")


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuse.ntfs-3g", "fuseblk", "fuse.gocryptfs"]
)
def test_local_disks_are_not(mounted, tmp_path, kind):
    mounted((tmp_path, kind))
    assert place_warning(tmp_path / "glioma") == ""


@pytest.mark.parametrize("kind", ["9p", "drvfs"])
def test_disks_of_windows_are_local_to_linux_inside_it(mounted, kind):
    mounted(("/mnt/c", kind), ("/mnt/cases", "9p"))
    assert place_warning(Path("/mnt/c/mri/glioma")) == ""
    assert "network drive (9p)" in place_warning(Path("/mnt/cases/glioma"))


def test_a_path_that_cannot_be_followed_is_nobodys_trouble(mounted, tmp_path):
    mounted()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert place_warning(tmp_path / "circle" / "glioma") == ""
    assert place_warning(tmp_path / "glio\0ma") == ""


@pytest.mark.parametrize("folder", ["onedrive-backup-2019", "OneDrive-old", "Dropbox-old", "dropbox-2019"])
def test_copies_of_cloud_folders_are_none(mounted, tmp_path, folder):
    mounted()
    assert place_warning(tmp_path / folder / "glioma") == ""


def test_mounts_of_a_mac_are_read(monkeypatch):
    monkeypatch.setattr(place.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": MAC}))
    assert list(place._mac_mounts()) == [("/", "apfs"), ("/Volumes/MRI share", "smbfs")]
    assert place._NETWORK.fullmatch("smbfs")
    assert not place._NETWORK.fullmatch("apfs")


@pytest.mark.parametrize(
    ("folder", "service"),
    [
        ("OneDrive - Klinikum Nord", "OneDrive"), ("OneDrive", "OneDrive"), ("Dropbox", "Dropbox"),
        ("Dropbox (Klinikum)", "Dropbox"), ("CloudStorage/OneDrive-Klinikum", "OneDrive"),
        ("Google Drive", "Google Drive"),
        ("GoogleDrive-anna@x.org", "Google Drive"), ("Mobile Documents", "iCloud"), ("Nextcloud", "Nextcloud"),
        ("Box Sync", "Box"),
    ],
)  # fmt: skip
def test_cloud_folders_are_told_by_their_name(mounted, tmp_path, folder, service):
    mounted()
    assert f"glioma lies in a folder that {service} copies: " in place_warning(tmp_path / folder / "mri" / "glioma")
    assert place_warning(tmp_path / f"Not {folder}" / "glioma") == ""


@pytest.mark.parametrize(
    ("marker", "service"), [(".dropbox", "Dropbox"), (".sync_1f3a.db", "Nextcloud"), (".stfolder", "Syncthing")]
)
def test_cloud_folders_are_told_by_what_lies_in_them(mounted, tmp_path, marker, service):
    mounted()
    (tmp_path / "mine" / "mri").mkdir(parents=True)
    assert place_warning(tmp_path / "mine" / "mri" / "glioma") == ""
    (tmp_path / "mine" / marker).touch()
    assert f"that {service} copies" in place_warning(tmp_path / "mine" / "mri" / "glioma")


def test_window_says_it_once_and_opens(mounted, tmp_path):
    small_project(tmp_path).close()
    session, said = Session(), []
    session.message.connect(lambda text, wrong: said.append((text, wrong)))
    session.open_project(tmp_path / "project")
    assert said == []
    mounted((tmp_path, "nfs4"))
    session.open_project(tmp_path / "project")
    session.poll()
    assert [("network drive (nfs4)" in text, wrong) for text, wrong in said] == [(True, True)]
    assert session.project is not None
    assert not session.project.readonly
    session.close()


def test_shell_says_it_once_and_goes_on(mounted, tmp_path, capsys):
    mounted((tmp_path, "cifs"))
    app(["new", str(tmp_path / "project")], standalone_mode=False)
    told = capsys.readouterr()
    assert told.err.count("network drive (cifs)") == 1
    assert "is ready" in told.out
