"""DICOM: values and grey values against the standard's formulas, real files of pydicom's wheel, and series in order."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tinygrad_med.data import dicom, mrnet
from tinygrad_med.data.grey import GreyError
from tinygrad_med.data.image_loaders import ImageDataLoaders
from tinygrad_med.data.images import get_image_files, open_image
from tinygrad_med.data.transforms import Resize

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")
pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install pydicom")


def write(path: Path, stored: np.ndarray, **tags: Any) -> Path:
    """A file of these stored numbers, (H, W) or (frames, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = pydicom.uid.generate_uid()
    header.Rows, header.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        header.NumberOfFrames = len(stored)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 8 * stored.itemsize
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(header, name, value)
    header.HighBit = header.BitsStored - 1
    header.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    pydicom.dcmwrite(path, header, enforce_file_format=True)
    return path


def grey(path: Path, **options: Any) -> np.ndarray:
    return np.asarray(open_image(path, "L", **options)).astype(int)


def shown(x: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """The standard's formula (PS3.3, C.11.2.1.2), for an output from 0 to 255."""
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return (((x - centre) / width + 0.5) * 255).clip(0, 255)


STORED = np.array([[-2000, -1024, 0], [40, 1064, 3000]], np.int16)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_hounsfield_units_under_the_files_window(tmp_path, function, kind):
    stored = np.array([[-2000, 450, 512], [560, 600, 3000]], np.int16)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": [40, 1], "WindowWidth": [400, 5]}
    path = write(tmp_path / "ct.dcm", stored, VOILUTFunction=function, PhotometricInterpretation=kind, **tags)
    frames = dicom.read(path)
    np.testing.assert_array_equal(frames.values[0], stored * 2.0 - 1024)
    expected = shown(stored * 2.0 - 1024, 40, 400, function)
    expected = expected if kind == "MONOCHROME2" else 255 - expected
    assert np.abs(grey(path) - expected).max() <= 1
    assert np.abs(grey(path, window=(-1000, 1000)) - grey(path)).max() > 20


@given(
    stored=st.lists(st.integers(0, 2**16 - 1), min_size=6, max_size=6),
    bits=st.integers(8, 16),
    signed=st.booleans(),
    slope=st.sampled_from([1.0, 0.5, 3.0]),
    intercept=st.sampled_from([0.0, -1024.0]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_the_bits_stored_count(tmp_path, stored, bits, signed, slope, intercept):
    """Whatever stands in the bits above them: old files keep overlays there."""
    tags = {
        "BitsStored": bits,
        "PixelRepresentation": int(signed),
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
    }
    path = write(tmp_path / "x.dcm", np.array(stored, np.uint16).reshape(2, 3), **tags)
    numbers = [n % 2**bits for n in stored]
    meant = [(n - 2**bits if signed and n >= 2 ** (bits - 1) else n) * slope + intercept for n in numbers]
    found = dicom.read(path)
    assert found.values.ravel().tolist() == meant
    if signed or (slope, intercept) != (1, 0):
        with pytest.raises(GreyError, match=r"x.dcm: its numbers go from .*, and it has no window; give window="):
            open_image(path)
    else:
        assert grey(path).ravel().tolist() == [n >> (bits - 8) for n in numbers]


def test_padding_is_black(tmp_path):
    tags = {"PixelPaddingValue": -2000, "WindowCenter": 0, "WindowWidth": 2001}
    for kind, padding in (("MONOCHROME1", 0), ("MONOCHROME2", 0)):
        found = grey(write(tmp_path / f"{kind}.dcm", STORED, PhotometricInterpretation=kind, **tags))
        assert found[0, 0] == padding and abs(found[0, 2] - 128) <= 1
    limit = grey(
        write(tmp_path / "r.dcm", STORED, PixelPaddingRangeLimit=-1000, PhotometricInterpretation="MONOCHROME1", **tags)
    )
    assert limit[0].tolist()[:2] == [0, 0] and limit[1, 2] == 0


def test_films_of_one_detector_keep_their_relation(tmp_path):
    """DICOM says how many bits there are: no film's own brightest pixel decides, and PNG lies beside it."""
    for i, largest in enumerate((2047, 4095, 300, 100)):
        write(tmp_path / "ab"[i % 2] / f"{i}.dcm", np.array([[100, largest], [7, 0]], np.uint16), BitsStored=12)
    pillow.fromarray(np.full((2, 2), 6, np.uint8)).save(tmp_path / "a" / "x.png")
    dls = ImageDataLoaders.from_folder(tmp_path, valid_pct=0.4, mode="L", item_tfms=Resize(2), bs=8)
    assert dls.window == (0, 4096) and len(get_image_files(tmp_path)) == 5
    for images in (dls.train.dataset.images, dls.valid.dataset.images):
        for i in range(len(images)):
            assert np.asarray(images.open(i))[0, 0] == 100 >> 4
    (x, _), *_ = dls.valid
    assert x.shape == (2, 1, 2, 2)


def test_windows_that_differ_need_a_word(tmp_path):
    for i in range(4):
        write(tmp_path / "ab"[i % 2] / f"{i}.dcm", STORED, WindowCenter=i % 3, WindowWidth=101)
    options = {"valid_pct": 0.5, "mode": "L", "item_tfms": Resize(2)}
    with pytest.raises(
        GreyError, match=r"have 3 windows of their own, \(-50.5, 49.5\), .*; give window=.* or window='own'"
    ):
        ImageDataLoaders.from_folder(tmp_path, **options)
    assert ImageDataLoaders.from_folder(tmp_path, window=(0, 50), **options).window == (0, 50)
    own = ImageDataLoaders.from_folder(tmp_path, window="own", **options).train.dataset.images
    for i, file in enumerate(own.files):
        assert np.abs(np.asarray(own.open(i)) - shown(STORED, int(file.stem) % 3, 101)).max() <= 1
    with pytest.raises(ValueError, match="images: window='auto' is unknown"):
        open_image(tmp_path / "a" / "0.dcm", window="auto")


def test_several_frames_are_no_picture(tmp_path):
    path = write(tmp_path / "x.dcm", np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"x.dcm can't be read as a picture: it holds 3; dicom.read gives all"):
        open_image(path)
    assert dicom.read(path).values.shape == dicom.read_series(path).values.shape == (3, 2, 2)


# Real files ---------------------------------------------------------------------------------------------------------


def real(name: str) -> Path:
    """A file of pydicom's wheel; nothing is downloaded."""
    path = Path(pydicom.data.__file__).parent / "test_files" / name
    if not path.is_file():
        pytest.skip(f"this pydicom has no {name}")
    return path


def test_a_real_ct():
    path = real("CT_small.dcm")
    header = pydicom.dcmread(path)
    frames = dicom.read(path)
    np.testing.assert_array_equal(frames.values[0], header.pixel_array.astype(float) - 1024)
    with pytest.raises(GreyError, match="CT_small.dcm: its numbers go from -896 to 1167, and it has no window"):
        open_image(path)
    expected = shown(frames.values[0], 40.5, 401)
    assert np.abs(grey(path, window=(-160, 240)) - expected).max() <= 1


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"]
)
def test_a_real_mr_however_it_is_encoded(name):
    expected = shown(pydicom.dcmread(real("MR_small.dcm")).pixel_array.astype(float), 600, 1600)
    assert np.abs(grey(real(name)) - expected).max() <= 1


def test_real_colours():
    rgb = open_image(real("examples_rgb_color.dcm"))
    np.testing.assert_array_equal(np.asarray(rgb), pydicom.dcmread(real("examples_rgb_color.dcm")).pixel_array)
    header = pydicom.dcmread(real("examples_palette.dcm"))
    index = header.pixel_array
    table = np.frombuffer(header.RedPaletteColorLookupTableData, "<u2")[
        index - header.RedPaletteColorLookupTableDescriptor[1]
    ]
    np.testing.assert_array_equal(np.asarray(open_image(real("examples_palette.dcm")))[..., 0], table >> 8)


def test_a_real_file_with_overlays_in_its_upper_bits():
    path = real("examples_overlay.dcm")
    assert dicom.read(path).values.max() < 4096
    assert grey(path).std() > 10


def test_files_that_are_none(tmp_path):
    whole = write(tmp_path / "x.dcm", STORED, WindowCenter=0, WindowWidth=9).read_bytes()
    (tmp_path / "text.dcm").write_bytes(b"no DICOM" * 50)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "cut.dcm").write_bytes(whole[:-6])
    (tmp_path / "folder.dcm").mkdir()
    for name in ("text.dcm", "empty.dcm", "cut.dcm", "folder.dcm"):
        with pytest.raises(ValueError, match=rf"dicom: .*{name} can't be read \(.*skip_bad=True"):
            open_image(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "nowhere.dcm")


# Series -------------------------------------------------------------------------------------------------------------


def series(folder: Path, places: list[float], turned: bool = False, **tags: Any) -> Path:
    """A series whose slice at z holds numbers from z on; the files' names and numbers say nothing of the order."""
    direction = [0, 1, 0, 0, 0, -1] if turned else [1, 0, 0, 0, 1, 0]
    for k, z in enumerate(places):
        stored = (np.arange(12).reshape(3, 4) + int(10 * z) + 100).astype(np.uint16)
        position = [-z, 5, 7] if turned else [5, 7, z]
        common = {"ImageOrientationPatient": direction, "ImagePositionPatient": position, "InstanceNumber": k}
        write(folder / f"IM{k:04}", stored, **{"SeriesInstanceUID": "1.2.3", **common, **tags})
    return folder


@pytest.mark.parametrize("turned", [False, True])
def test_slices_come_in_the_order_of_their_positions(tmp_path, turned):
    folder = series(tmp_path / "s", [4.5, -3.0, 12.0, 0.75, 8.25], turned)
    (folder / "notes.txt").write_text("not a slice")
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    found = dicom.read_series(folder)
    assert np.allclose(found.positions, sorted(found.positions)) and len(found.positions) == 5
    firsts = found.values[:, 0, 0]
    np.testing.assert_allclose(firsts, np.floor(10 * found.positions + 1e-9) + 100, atol=1)
    assert np.all(np.diff(firsts) > 0)


def test_a_gap_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"the slices of .* are 1.00 to 2.00 apart; is one missing\?"):
        dicom.read_series(series(tmp_path, [0, 1, 3, 4]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ImagePositionPatient": [0, 0, 1]}, r"IM0000 and IM0005 .* are in the same place"),
        ({"SeriesInstanceUID": "1.2.4"}, r"are of 2 kinds by their SeriesInstanceUID, 1.2.3, 1.2.4; put each"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "look into several directions"),
        ({"stored": np.zeros((5, 4), np.uint16)}, r"have several shapes: \(3, 4\), \(5, 4\)"),
    ],
)
def test_files_that_are_no_series(tmp_path, change, message):
    folder = series(tmp_path, [1, 2, 3])
    tags = {
        "SeriesInstanceUID": "1.2.3",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 4],
    }
    tags |= change
    write(folder / "IM0005", tags.pop("stored", np.zeros((3, 4), np.uint16)), **tags)
    with pytest.raises(ValueError, match=message):
        dicom.read_series(folder)


def test_a_folder_without_slices(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no DICOM files"):
        dicom.read_series(tmp_path)


def test_own_exams_go_where_mrnets_go(tmp_path):
    """A folder of slices per plane becomes an exam that `mrnet.Exams` reads."""
    root = tmp_path / "own"
    for plane in mrnet.PLANES:
        folder = series(tmp_path / plane, [3, 1, 2])
        (root / "train" / plane).mkdir(parents=True)
        volume = dicom.to_mrnet(folder)
        assert volume.shape == (3, 256, 256) and volume.min() == 0 and volume.max() == 255
        assert np.all(np.diff(volume[:, 100, 100].astype(int)) > 0)
        np.save(root / "train" / plane / "0000.npy", volume)
    for label in mrnet.LABELS:
        with (root / f"train-{label}.csv").open("w", newline="") as file:
            csv.writer(file).writerow(["0000", 1])
    (exam,) = mrnet.Exams(root, check_counts=False)
    assert [one.shape for one in exam.series] == [(3, 3, 224, 224)] * 3
    with pytest.raises(ValueError, match="all numbers of .* are 0, so it can't be scaled"):
        dicom.to_mrnet(write(tmp_path / "c.dcm", np.zeros((2, 2), np.uint8)))


def test_pydicom_is_named_where_it_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "x.dcm", STORED)
    monkeypatch.setitem(__import__("sys").modules, "pydicom.pixels", None)
    with pytest.raises(ImportError, match=r"needs pydicom, .*tinygrad_med\[dicom\]"):
        open_image(path)
