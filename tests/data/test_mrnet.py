"""MRNet's loader, its phantoms, and AdrenalMNIST3D as exams: what they give, and each fault by file and exam."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_med.data import adrenal, mrnet
from tinygrad_med.data.mrnet import LABELS, PLANES, Augmentation, Exams, prepare
from tinygrad_med.data.phantoms import knees

TABLE = {"0000": (1, 0, 1), "0001": (0, 0, 0), "0002": (1, 1, 0), "0003": (1, 0, 0)}  # abnormal, acl, meniscus


def write_csv(root: Path, name: str, rows: list[tuple[Any, ...]], split: str = "train") -> None:
    with (root / f"{split}-{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small MRNet-v1.0: four exams, one to four slices."""
    rng = np.random.default_rng(0)
    for k, plane in enumerate(PLANES):
        (tmp_path / "train" / plane).mkdir(parents=True)
        for i, exam in enumerate(TABLE):
            volume = rng.integers(3, 200, ((i + k) % 4 + 1, 256, 256), dtype=np.uint8)
            np.save(tmp_path / "train" / plane / f"{exam}.npy", volume)
    for j, name in enumerate(LABELS):
        write_csv(tmp_path, name, [(exam, labels[j]) for exam, labels in TABLE.items()])
    return tmp_path


def load(root: Path, **options: Any) -> Exams:
    return Exams(root, check_counts=False, **options)


# ---------------------------------------------------------------- what it gives


def test_exams_as_released(root: Path):
    exams = load(root)
    assert exams.ids == list(TABLE)
    np.testing.assert_array_equal(exams.labels, list(TABLE.values()))
    assert exams.labels.dtype == np.float32
    for i, (series, labels) in enumerate(exams):
        assert [one.shape for one in series] == [((i + k) % 4 + 1, 3, 224, 224) for k in range(3)]
        assert all(one.dtype == np.float32 for one in series)
        np.testing.assert_array_equal(labels, list(TABLE.values())[i])


def test_a_series_is_cropped_scaled_and_standardized(root: Path):
    """By the original code's formula, in float64."""
    exams = load(root)
    found = exams[2].series[1]
    volume = np.load(root / "train" / "coronal" / "0002.npy").astype(np.float64)[:, 16:-16, 16:-16]
    expected = ((volume - volume.min()) / (volume.max() - volume.min()) * 255 - 58.09) / 49.73
    for channel in range(3):
        np.testing.assert_allclose(found[:, channel], expected, atol=2e-6)


def test_volumes_are_mapped(root: Path):
    assert isinstance(load(root).volume(0, "axial"), np.memmap)


@pytest.mark.parametrize(
    ("labels", "expected"), [(("acl",), [3]), (("meniscus", "abnormal"), [3, 1 / 3]), (LABELS, [1 / 3, 3, 3])]
)
def test_pos_weight_is_negatives_over_positives(labels: tuple[str, ...], expected: list[float], root: Path):
    exams = load(root, labels=labels)
    assert exams.label_names == labels
    np.testing.assert_allclose(exams.pos_weight, expected, rtol=1e-6)
    assert exams.pos_weight.dtype == np.float32


def test_pos_weights_of_the_released_split():
    counts = mrnet.COUNTS["train"]
    found = [(counts["exams"] - counts[name]) / counts[name] for name in LABELS]
    np.testing.assert_allclose(found, [217 / 913, 922 / 208, 733 / 397])


def test_rows_in_any_order_and_short_numbers(root: Path):
    write_csv(root, "acl", [("3", 0), ("2", 1), ("1", 0), ("0", 0)])
    exams = load(root)
    assert exams.ids == list(TABLE)
    np.testing.assert_array_equal(exams.labels[:, 1], [0, 0, 1, 0])


def test_shrink_averages(root: Path):
    whole, half = load(root)[0].series[0], load(root, shrink=2)[0].series[0]
    assert half.shape == (1, 3, 112, 112)
    np.testing.assert_allclose(half[0, 0, 5, 7], whole[0, 0, 10:12, 14:16].mean(), atol=1e-5)


# ---------------------------------------------------------------- augmentation


def ramp(slices: int = 2) -> np.ndarray:
    """A volume whose pixel says where it is: smooth, and different in all directions."""
    y, x = np.mgrid[:256, :256]
    return np.repeat((0.3 * x + 0.6 * y)[None].astype(np.uint8), slices, axis=0)


def test_no_motion_changes_nothing():
    np.testing.assert_allclose(prepare(ramp(), Augmentation()), prepare(ramp()), atol=1e-5)


def test_a_flip_is_the_mirror_image():
    np.testing.assert_allclose(prepare(ramp(), Augmentation(flip=True)), prepare(ramp())[..., ::-1], atol=1e-5)


def test_a_shift_moves_right_and_down():
    found = prepare(ramp(), Augmentation(right=16 / 224, down=8 / 224))
    volume = ramp()[:, 8:232, 0:224].astype(np.float64)  # comes from further left and further up
    low, high = ramp()[:, 16:-16, 16:-16].min(), ramp()[:, 16:-16, 16:-16].max()
    expected = ((volume - low) / (high - low) * 255 - 58.09) / 49.73
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)


def test_a_quarter_turn_is_numpys():
    """Counter-clockwise, as `np.rot90` turns a picture."""
    spot = np.zeros((1, 256, 256), np.uint8)
    spot[0, 100:110, 140:180] = 200
    found = prepare(spot, Augmentation(turn=90))[0, 0]
    np.testing.assert_allclose(found, np.rot90(prepare(spot)[0, 0]), atol=1e-3)


def test_what_comes_from_outside_is_the_minimum():
    volume = np.full((1, 256, 256), 100, np.uint8)
    volume[0, 120:130, 120:130] = 200
    found = prepare(volume, Augmentation(right=0.5))[0, 0]
    assert found[0, 0] == found.min() == np.float32((0 - 58.09) / 49.73)


def test_all_slices_of_a_series_move_alike(root: Path):
    for plane in PLANES:
        np.save(root / "train" / plane / "0000.npy", ramp(3))
    series = load(root).read(0, np.random.default_rng(0)).series
    for one in series:
        np.testing.assert_array_equal(one[0], one[1])
        np.testing.assert_array_equal(one[0], one[2])
    assert not np.allclose(series[0], series[1])


def test_motions_are_drawn_within_the_papers_bounds():
    rng = np.random.default_rng(0)
    drawn = [Augmentation.draw(rng) for _ in range(2000)]
    turns, right, down, flips = (np.array(values, float) for values in zip(*drawn, strict=True))
    assert 24 < np.abs(turns).max() <= 25
    assert 0.105 < np.abs(right).max() <= 0.11 and 0.105 < np.abs(down).max() <= 0.11
    assert 0.45 < flips.mean() < 0.55
    np.testing.assert_array_equal(
        Augmentation.draw(np.random.default_rng(3)), Augmentation.draw(np.random.default_rng(3))
    )


# ---------------------------------------------------------------- faults, each by file and exam

ROWS = [(exam, labels[1]) for exam, labels in TABLE.items()]
BAD_ROWS: dict[str, tuple[list[tuple[Any, ...]], str]] = {
    "a label of 2": (
        [*ROWS[:3], ("0003", 2)],
        r"train-acl\.csv, row 4: '0003', '2' is not an exam's number and 0 or 1",
    ),
    "no label": ([*ROWS[:3], ("0003", "")], r"train-acl\.csv, row 4: '0003', '' is not"),
    "NaN": ([*ROWS[:3], ("0003", "nan")], r"train-acl\.csv, row 4: '0003', 'nan' is not"),
    "a header": ([("id", "label"), *ROWS], r"train-acl\.csv, row 1: 'id', 'label' is not"),
    "an exam twice": ([*ROWS, ("0001", 1)], r"train-acl\.csv, row 5: exam 0001 comes a second time"),
    "an exam less": (ROWS[:3], r"train-acl\.csv has no row for exam 0003, but train-abnormal\.csv has one"),
    "an exam more": ([*ROWS, ("0009", 0)], r"train-abnormal\.csv has no row for exam 0009, but train-acl\.csv has one"),
    "three columns": ([(*row, 0) for row in ROWS], r"train-acl\.csv has 3 columns, not 2"),
    "ragged rows": ([*ROWS, ("0004", 0, 0, 0)], r"train-acl\.csv is not a table of exams and labels"),
    "empty": ([], r"train-acl\.csv is not a table of exams and labels"),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_bad_rows_are_named(bad: str, root: Path):
    rows, message = BAD_ROWS[bad]
    write_csv(root, "acl", rows)
    with pytest.raises(ValueError, match=message):
        load(root)


GOOD = np.arange(2 * 256 * 256, dtype=np.uint8).reshape(2, 256, 256)
NAN = GOOD.astype(np.float32)
NAN[0, 3, 3] = np.nan
BAD_VOLUMES: dict[str, tuple[np.ndarray, str]] = {
    "smaller": (GOOD[:, :128], r"has shape \(2, 128, 256\), not \(slices, 256, 256\); restore"),
    "one slice without its dim": (GOOD[0], r"has shape \(256, 256\), not"),
    "no slice": (GOOD[:0], r"has shape \(0, 256, 256\), not"),
    "floats": (GOOD.astype(np.float32), r"holds float32, not uint8; restore"),
    "NaN": (NAN, r"holds float32, with NaN among its values, not uint8"),
    "int16": (GOOD.astype(np.int16), r"holds int16, not uint8"),
    "objects": (np.array([None, 1], dtype=object), r"is damaged or not a \.npy file"),
}


@pytest.mark.parametrize("bad", BAD_VOLUMES)
def test_bad_volumes_are_named(bad: str, root: Path):
    volume, message = BAD_VOLUMES[bad]
    np.save(root / "train" / "sagittal" / "0002.npy", volume, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"sagittal.0002\.npy \(exam 0002\) {message}"):
        load(root)


def test_an_exam_without_its_file(root: Path):
    (root / "train" / "coronal" / "0001.npy").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"coronal.0001\.npy \(exam 0001\) is not there, but the labels name the"
    ):
        load(root)


@pytest.mark.parametrize("length", [0, 5, 100, 5000])
def test_a_file_that_is_cut_off(length: int, root: Path):
    file = root / "train" / "axial" / "0003.npy"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"axial.0003\.npy \(exam 0003\) is damaged or not a \.npy file"):
        load(root)


def test_a_constant_series(root: Path):
    volume = np.full((2, 256, 256), 7, np.uint8)
    volume[0, 0, 0] = 90  # outside of what is cut out
    np.save(root / "train" / "axial" / "0001.npy", volume)
    exams = load(root)
    with pytest.raises(
        ValueError, match=r"axial.0001\.npy \(exam 0001\): all pixels of the series are 7, it can't be scaled"
    ):
        exams[1]
    assert len(exams[0].series) == 3


def test_a_label_without_positives_has_no_weight(root: Path):
    write_csv(root, "acl", [(exam, 0) for exam in TABLE])
    with pytest.raises(ValueError, match=r"mrnet: no exam of .*train is positive for acl: there is nothing to weigh"):
        _ = load(root).pos_weight


def test_a_label_that_every_exam_has_has_no_weight(root: Path):
    """It would weigh 0, and the loss would be 0 everywhere."""
    write_csv(root, "abnormal", [(exam, 1) for exam in TABLE])
    with pytest.raises(ValueError, match=r"mrnet: every exam of .*train is positive for abnormal: .* leave the label"):
        _ = load(root).pos_weight


def test_a_tear_in_a_healthy_knee_is_counted_and_named(root: Path):
    abnormal = [exam for exam, labels in TABLE.items() if labels[0]]
    torn = [exam for exam, labels in TABLE.items() if max(labels[1:]) and not labels[0]]
    assert torn == []
    write_csv(root, "abnormal", [(exam, int(exam != abnormal[0]) * labels[0]) for exam, labels in TABLE.items()])
    write_csv(root, "acl", [(exam, int(exam == abnormal[0])) for exam in TABLE])
    with pytest.warns(UserWarning, match=rf"1 of 4 exams in .*train have a tear and are not abnormal: {abnormal[0]};"):
        exams = load(root)
    assert len(exams) == 4


def test_a_slice_of_the_exams_is_a_list_of_exams(root: Path):
    exams = load(root)
    for chosen in (slice(0, 1), slice(None, None, -2), slice(3, 9), slice(2, 2)):
        found, wanted = exams[chosen], [exams[i] for i in range(4)[chosen]]
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.labels, other.labels)
            for series, same in zip(one.series, other.series, strict=True):
                np.testing.assert_array_equal(series, same)


def test_missing_csv_and_wrong_arguments(root: Path, tmp_path: Path):
    (root / "train-meniscus.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*train-meniscus\.csv; give the folder MRNet-v1\.0"):
        load(root)
    with pytest.raises(ValueError, match="no split 'test'; give 'train' or 'valid'"):
        Exams(root, "test")
    for labels in ((), ("knee",)):
        with pytest.raises(ValueError, match="must be one or more of abnormal, acl, meniscus"):
            Exams(root, labels=labels)
    with pytest.raises(ValueError, match="shrink=3 must divide 224"):
        load(root, shrink=3)


def test_counts_are_those_of_the_release(root: Path):
    with pytest.raises(
        ValueError, match=r"train split as it was released: 4 exams, not 1,130; 3 abnormal, not 913;.*check_counts"
    ):
        Exams(root)


def test_pandas_is_named_where_it_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'labels of MRNet needs pandas.*pip install "tinygrad_med\[examples\]"'):
        load(root)


# ---------------------------------------------------------------- phantoms


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    knees.generate(root, 8, 8, slices=(6, 7), seed=1)
    return root


def test_phantoms_have_mrnets_layout(phantoms: Path):
    for split, first in (("train", 0), ("valid", 8)):
        exams = Exams(phantoms, split, check_counts=False)
        assert exams.ids == [f"{first + i:04d}" for i in range(8)]
        assert set(map(len, (exams.volume(i, plane) for i in range(8) for plane in PLANES))) == {6, 7}
        assert (exams.labels.sum(0) > 0).all() and (exams.labels.sum(0) < 8).all()


def test_every_lesion_is_where_the_list_says(phantoms: Path):
    """As many lesions as labels, in every plane; inside of each, bright fluid and dark layers side by side."""
    exams = Exams(phantoms, "train", check_counts=False)
    lesions = knees.read_lesions(phantoms, "train")
    wanted = {
        (exam, name)
        for exam, row in zip(exams.ids, exams.labels, strict=True)
        for name, has in zip(LABELS, row, strict=True)
        if has
    }
    assert lesions.keys() == wanted
    for (exam, label), cuts in lesions.items():
        assert {cut.plane for cut in cuts} == set(PLANES)
        largest = max(cuts, key=lambda cut: cut.radius)
        inside = exams.volume(exams.ids.index(exam), largest.plane)[largest.slice][largest.mask()]
        assert 500 < inside.size < 4000
        depths = {name: axes[0] for name, axes in knees.AXES.items()}
        plane = next(name for name in PLANES if depths[name] != knees.LAYERS[label])  # it cuts the layers across
        cut = max((cut for cut in cuts if cut.plane == plane), key=lambda cut: cut.radius)
        picture = exams.volume(exams.ids.index(exam), plane)[cut.slice]
        inside = picture[cut.mask()]
        assert np.quantile(inside, 0.8) > 1.25 * np.quantile(picture[picture > 25], 0.8), (exam, label)
        assert np.quantile(inside, 0.2) < 0.5 * np.quantile(inside, 0.8), (exam, label)


def test_healthy_knees_have_fluid_as_bright(phantoms: Path):
    exams = Exams(phantoms, "train", check_counts=False)
    brightest = np.array([np.quantile(exams.volume(i, "axial"), 0.9995) for i in range(8)])
    sick = exams.labels[:, 0] > 0
    assert brightest[~sick].min() > 0.8 * brightest[sick].mean()


def test_same_seed_same_knees(tmp_path: Path):
    for labels in ((0, 0, 0), (1, 1, 1)):
        one, two, other = (
            knees.paint_exam(np.array(labels), (6, 8), np.random.default_rng(seed)) for seed in (0, 0, 1)
        )
        assert one[1] == two[1]
        assert all(np.array_equal(one[0][plane], two[0][plane]) for plane in PLANES)
        assert one[0]["axial"].shape != other[0]["axial"].shape or (one[0]["axial"] != other[0]["axial"]).any()


def test_what_phantoms_refuse(tmp_path: Path):
    with pytest.raises(ValueError, match=r"slices=\(3, 9\) must be the fewest and the most, at least 6"):
        knees.generate(tmp_path, slices=(3, 9))
    with pytest.raises(ValueError, match=r"8 and 2 exams; ask for at least 8 of each"):
        knees.generate(tmp_path, 8, 2)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- AdrenalMNIST3D


def test_adrenal_volumes_as_exams(shared: Path):
    file = shared / "data" / "adrenalmnist3d_64.npz"
    volumes = adrenal.Volumes(file, "val", slices=5, reach=10)
    assert len(volumes) == 98
    series, labels = volumes[3]
    np.testing.assert_array_equal(volumes.at, [22, 27, 32, 37, 42])
    assert [one.shape for one in series] == [(5, 3, 64, 64)] * 3
    assert labels.shape == (1,)
    raw = volumes.volumes[3].astype(np.float64)
    for axis, one in enumerate(series):
        np.testing.assert_allclose(one[1, 2], (raw.take(27, axis) - 58.09) / 49.73, atol=1e-5)
    with np.load(file) as arrays:
        expected = (arrays["val_labels"] == 0).sum() / (arrays["val_labels"] == 1).sum()
    np.testing.assert_allclose(volumes.pos_weight, [expected], rtol=1e-6)


def test_what_adrenal_refuses(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*none\.npz; get adrenalmnist3d_64\.npz from"):
        adrenal.Volumes(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="no split 'valid'; give one of train, val, test"):
        adrenal.Volumes(tmp_path / "none.npz", "valid")
    with pytest.raises(ValueError, match="reach=32 must be less than 32"):
        adrenal.Volumes(tmp_path / "none.npz", reach=32)
    np.savez(tmp_path / "other.npz", train_images=np.zeros((2, 28, 28, 28), np.uint8), train_labels=np.zeros((2, 1)))
    with pytest.raises(
        ValueError, match=r"other\.npz has train volumes uint8 \(2, 28, 28, 28\) and labels \(2, 1\), not"
    ):
        adrenal.Volumes(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cut\.npz is damaged or another file"):
        adrenal.Volumes(tmp_path / "cut.npz")
