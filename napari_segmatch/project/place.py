"""Where a project lies: network drives and folders that a cloud service copies are told from local disks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
"""Linux's table of what is mounted where."""

_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|afpfs|afs|ncpfs|9p|vboxsf|ceph|lustre|gpfs|beegfs\w*|glusterfs|webdav|davfs\w*|sshfs|"
    r"fuse\.(?!gocryptfs|encfs|cryfs|mergerfs|ntfs|exfat|bindfs|fuse-overlayfs|snapfuse|squashfuse|portal).*|"
    r"(macfuse|osxfuse)\w*"
)
"""Kinds of file systems that reach another computer; of those in user space all but a few that are known as local."""

_WINDOWS_DISK = re.compile(r"/mnt/[a-z]")
"""Where Linux inside Windows mounts Windows' own disks, with a file system that is otherwise a network's."""

_CLOUDS = {
    "OneDrive": r"OneDrive( - .*)?",
    "Dropbox": r"Dropbox( \(.*\))?",
    "Google Drive": r"Google ?Drive( \(.*\)|-.*)?",
    "iCloud": r"iCloud ?Drive.*|Mobile Documents",
    "Nextcloud": r"Nextcloud\d*|ownCloud\d*",
    "Box": r"Box Sync|Box-Box",
    "pCloud": r"pCloud ?Drive",
    "MEGA": r"MEGAsync.*",
    "Proton Drive": r"Proton ?Drive.*",
    "Synology Drive": r"Synology ?Drive",
}
"""How services call the folder that they copy."""

_MARKERS = {
    "Dropbox": (".dropbox", ".dropbox.cache"),
    "OneDrive": (".849C9593-D756-4E56-8D6E-42412F2A707B",),
    "Google Drive": (".tmp.driveupload", ".tmp.drivedownload"),
    "Nextcloud": (".nextcloudsync.log", ".owncloudsync.log", ".sync_*.db", "._sync_*.db"),
    "Syncthing": (".stfolder",),
}
"""What services leave in the top of that folder."""


def place_warning(path: Path) -> str:
    """Return a sentence if a project's folder, which need not be there yet, lies where projects come to harm.

    A warning stops nobody: of a path that cannot be followed there is nothing to say.
    """
    try:
        return _warning(path.resolve())
    except (OSError, RuntimeError, ValueError):  # links that lead in a circle; a name that no file can have
        return ""


def _warning(place: Path) -> str:
    if service := _cloud(place):
        return (
            f"{place.name} lies in a folder that {service} copies: it can copy a half-written project, or put another "
            f"computer's copy in its place, so keep the project outside that folder, or pause {service} while you work."
        )
    if kind := _network(place):
        return (
            f"{place.name} lies on a network drive ({kind}): a lost connection stops saving, and two computers may "
            "write at once, so work on a local disk and copy the project over when no window has it open."
        )
    return ""


def _cloud(place: Path) -> str:
    for folder in (place, *place.parents):
        own = folder.parent.name == "CloudStorage"  # macOS keeps all such folders there, as OneDrive-Hospital
        name = folder.name.partition("-")[0] if own else folder.name
        for service, pattern in _CLOUDS.items():
            if re.fullmatch(pattern, name, re.IGNORECASE):
                return service
        for service, markers in _MARKERS.items():
            if folder != Path.home() and any(next(folder.glob(marker), None) for marker in markers):
                return service
        if folder == Path.home() / "Box":
            return "Box"
        if any(os.environ.get(name) == str(folder) for name in ("OneDrive", "OneDriveConsumer", "OneDriveCommercial")):
            return "OneDrive"
    return ""


def _network(place: Path) -> str:
    """Return the kind of network drive, in the system's own words; empty for a local disk, or if nobody can tell."""
    if sys.platform == "win32":
        return _windows(place)
    mounts = _mac_mounts() if sys.platform == "darwin" else _linux_mounts()
    above = {str(folder) for folder in (place, *place.parents)}
    found = [(point, kind) for point, kind in mounts if point in above]
    nearest = max(enumerate(found), key=lambda item: (len(item[1][0]), item[0]), default=(0, ("", "")))
    point, kind = nearest[1]
    if kind in ("9p", "drvfs") and _WINDOWS_DISK.fullmatch(point):
        return ""
    return kind if _NETWORK.fullmatch(kind) else ""


def _windows(place: Path) -> str:
    if place.drive.startswith("\\\\"):
        return place.drive
    import ctypes

    kinds = getattr(ctypes, "windll").kernel32  # noqa: B009  other systems' ctypes has none
    remote = 4
    return place.drive if kinds.GetDriveTypeW(f"{place.drive}\\") == remote else ""


def _linux_mounts() -> Iterable[tuple[str, str]]:
    """Return place and kind of everything that is mounted, later ones over earlier ones."""
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    fields = [line.split(" ") for line in lines]
    return [(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line[1]), line[2]) for line in fields if line[2:]]


def _mac_mounts() -> Iterable[tuple[str, str]]:
    try:
        told = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=2, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^.+? on (.+) \((\w+)[,)].*$", told, re.MULTILINE)
