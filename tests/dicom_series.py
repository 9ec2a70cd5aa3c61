"""DICOM made up for tests: a series a file each slice, and an enhanced multi-frame one."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
PATIENT = {
    "PatientID": "P1", "PatientName": "ZZCANARY^NAME", "PatientBirthDate": "", "PatientSex": "",
    "StudyDate": "20200101", "StudyTime": "", "AccessionNumber": "",
    "ReferringPhysicianName": "", "StudyID": "1", "Manufacturer": "SIEMENS",
    "Modality": "MR", "SeriesNumber": 3, "SeriesDescription": "AX FLAIR", "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    "EchoTime": 90, "RepetitionTime": 9000, "MagneticFieldStrength": 3, "ScanningSequence": "SE",
    "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "2D",
}  # fmt: skip


def _dataset(kind, rows, columns):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    for name, value in PATIENT.items():
        setattr(data, name, value)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def plane(z, shape=(8, 10)):
    return (np.arange(np.prod(shape)).reshape(shape) + 100 * z).astype("<u2")


def series(folder, n=6, shape=(8, 10), orient=(1, 0, 0, 0, 1, 0), origin=(-20, -30, 5), gap=3.0, edit=None, **tags):
    """Write a series with true geometry; ``edit(dataset, z)`` changes a slice. Returns the files in order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orient[:3], orient[3:])
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    files = []
    for z in range(n):
        data = _dataset(MR, *shape)
        data.InstanceNumber, data.PixelSpacing, data.SliceThickness = z + 1, [1.5, 1.2], gap
        data.ImageOrientationPatient = [float(value) for value in orient]
        data.ImagePositionPatient = [float(f"{value:.6f}") for value in np.array(origin) + normal * gap * z]
        data.PixelData = plane(z, shape).tobytes()
        for name, value in {**uids, **tags}.items():
            setattr(data, name, value)
        if edit:
            edit(data, z)
        files.append(folder / f"IM{n - z:04d}")  # names tell nothing of the order
        data.save_as(files[-1], enforce_file_format=True)
    return files


def _in_sequence(**tags):
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


def enhanced(path, n=6, echoes=1, shape=(8, 10), order=None):
    """Write an enhanced MR file whose frames stand in any order."""
    data = _dataset(ENHANCED, *shape)
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    data.InstanceNumber = 1
    shared = Dataset()
    shared.PlaneOrientationSequence = _in_sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = _in_sequence(PixelSpacing=[1.5, 1.2], SliceThickness=3)
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, pixels = [], []
    for frame in order or range(n * echoes):
        z, echo = frame % n, frame // n
        own = Dataset()
        own.PlanePositionSequence = _in_sequence(ImagePositionPatient=[-20, -30, 5 + 3 * z])
        own.MREchoSequence = _in_sequence(EffectiveEchoTime=30.0 * (echo + 1))
        own.PixelValueTransformationSequence = _in_sequence(RescaleSlope=2, RescaleIntercept=-1, RescaleType="US")
        frames.append(own)
        pixels.append(plane(z, shape) + 1000 * echo)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.NumberOfFrames = len(frames)
    data.PixelData = np.array(pixels, "<u2").tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path
