"""Images in folders: which files, which labels, every kind of picture, and what is said about bad ones."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from tinygrad_med.data import radiographs
from tinygrad_med.data.image_loaders import ImageDataLoaders
from tinygrad_med.data.images import get_image_files, labelled, open_image, split_by_chance, split_by_folder
from tinygrad_med.data.transforms import Resize

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")


def write(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pillow.fromarray(np.asarray(pixels))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def folders(root, counts):
    """Class folders with so many images each, all of them different."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            write(root / name / f"{i}.png", rng.integers(0, 256, (8, 8), np.uint8))
    return root


def test_files_are_sorted_and_hidden_ones_left_out(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.png", ".hidden.png", ".folder/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [f.name for f in get_image_files(tmp_path)] == ["a.JPG", "b.png", "c.png"]
    assert [f.name for f in get_image_files(tmp_path, recurse=False)] == ["a.JPG", "b.png"]
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        get_image_files(tmp_path / "nowhere")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "CMYK"])
def test_a_grey_picture_is_the_same_in_every_mode(tmp_path, mode):
    black_and_white = np.array([[0, 255], [255, 0]], np.uint8)
    suffix = ".tif" if mode == "CMYK" else ".png"
    picture = open_image(write(tmp_path / f"x{suffix}", black_and_white, mode))
    np.testing.assert_array_equal(np.asarray(picture), np.repeat(black_and_white[:, :, None], 3, 2))


@pytest.mark.parametrize(("largest", "divisor"), [(65535, 256), (4095, 16), (255, 1)])
def test_sixteen_bits_become_eight(tmp_path, largest, divisor):
    deep = np.array([[0, largest // 2], [largest // 3, largest]], np.uint16)
    picture = open_image(write(tmp_path / "x.png", deep), "L")
    np.testing.assert_array_equal(np.asarray(picture), deep // divisor)


def test_transparent_becomes_black(tmp_path):
    pixels = np.array([[[200, 100, 50, 0], [200, 100, 50, 255]]], np.uint8)
    np.testing.assert_array_equal(
        np.asarray(open_image(write(tmp_path / "x.png", pixels))), [[[0, 0, 0], [200, 100, 50]]]
    )


def test_a_bad_file_is_named(tmp_path):
    good = write(tmp_path / "good.png", np.zeros((50, 50), np.uint8)).read_bytes()
    for name, content in (("text.png", b"no picture"), ("empty.png", b""), ("cut.png", good[: len(good) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} can't be read .*skip_bad=True"):
            open_image(tmp_path / name)


def test_labels_are_the_folders(tmp_path):
    images = labelled(folders(tmp_path, {"chest": 2, "abd": 3}))
    assert images.vocab == ["abd", "chest"] and images.labels == [0, 0, 0, 1, 1]


def test_folders_that_make_no_sense(tmp_path):
    with pytest.raises(ValueError, match="the class chest has no images in .*; add some, or remove its folder"):
        labelled(folders(tmp_path / "a", {"abd": 1, "chest": 0}))
    with pytest.raises(ValueError, match="has no class folders"):
        labelled(folders(tmp_path / "b", {"abd": 0}) / "abd")
    root = folders(tmp_path / "c" / "train", {"abd": 2, "chest": 2}).parent
    folders(root / "valid", {"abd": 1, "elbow": 1})
    with pytest.raises(ValueError, match="has the folders abd, elbow, but the classes are abd, chest"):
        split_by_folder(root, "train", "valid")
    with pytest.raises(FileNotFoundError, match="no folder .*other; name the folders with train= and valid="):
        split_by_folder(root, "train", "other")


def test_one_class_is_no_data(tmp_path):
    root = folders(tmp_path / "train", {"abd": 3}).parent
    folders(root / "valid", {"abd": 1})
    with pytest.raises(ValueError, match="abd is the only class; a classifier needs two"):
        ImageDataLoaders.from_folder(root)


def test_split_by_chance_depends_on_the_seed_alone(tmp_path):
    root = folders(tmp_path, {"abd": 10, "chest": 10})
    train, valid = split_by_chance(root, 0.25, seed=3)
    assert (len(train), len(valid)) == (15, 5)
    assert sorted(train.files + valid.files) == sorted(get_image_files(root))
    assert split_by_chance(root, 0.25, seed=3)[1].files == valid.files
    assert split_by_chance(root, 0.25, seed=4)[1].files != valid.files
    with pytest.raises(ValueError, match="valid_pct=2 is no share"):
        split_by_chance(root, 2, seed=0)


def test_skip_bad_counts_what_it_leaves_out(tmp_path, capsys):
    root = folders(tmp_path / "train", {"abd": 4, "chest": 4}).parent
    folders(root / "val", {"abd": 1, "chest": 1})
    (root / "train" / "abd" / "2.png").write_bytes(b"broken")
    options = {"valid": "val", "item_tfms": Resize(8), "bs": 7}
    with pytest.raises(ValueError, match=r"2.png can't be read"):
        list(ImageDataLoaders.from_folder(root, **options).train)
    dls = ImageDataLoaders.from_folder(root, skip_bad=True, **options)
    ((x, y),) = dls.train
    assert x.shape == (7, 3, 8, 8) and sorted(y) == [0, 0, 0, 1, 1, 1, 1]
    assert "1 of 8 files can't be read and are skipped: 2.png" in capsys.readouterr().out


def test_grey_images_have_one_channel(tmp_path):
    root = folders(tmp_path, {"abd": 4, "chest": 4})
    dls = ImageDataLoaders.from_folder(root, valid_pct=0.25, mode="L", item_tfms=Resize(8), bs=2)
    x, _ = next(iter(dls.train))
    assert x.shape == (2, 1, 8, 8)


def test_images_of_the_test_have_the_labels_of_their_folders(tmp_path):
    root = folders(tmp_path, {"abd": 4, "chest": 4})
    dls = ImageDataLoaders.from_folder(root, valid_pct=0.25, item_tfms=Resize(8))
    files = [root / "chest" / "0.png", root / "abd" / "0.png"]
    ((_, y),) = dls.test_dl(files, with_labels=True)
    assert y.tolist() == [1, 0]
    ((x,),) = dls.test_dl(files)
    np.testing.assert_allclose(dls.decode(x)[0, 0] * 255, np.asarray(pillow.open(files[0])), atol=1e-4)
    write(tmp_path / "elbow" / "0.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="lies in 'elbow', which is no class; the classes are abd, chest"):
        dls.test_dl([tmp_path / "elbow" / "0.png"], with_labels=True)


# The radiographs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "place"),
    [
        ("Open_I_abd_vs_CXRs/TRAIN/openI_abd_xray/openI_1.png", "train/abd/openI_1.png"),
        ("Open_I_abd_vs_CXRs/VAL/openI_CXR/8_IM-2333-1001.png", "val/chest/8_IM-2333-1001.png"),
        ("Open_I_abd_vs_CXRs/TEST/chest2.png", "test/chest/chest2.png"),
        ("train/chest/chst33.png", "train/chest/chst33.png"),
        ("data/test/abd/abd_test.png", "test/abd/abd_test.png"),
        ("elbow.jpg", "elbow.jpg"),
        ("train/chest/3fabd2.png", "train/chest/3fabd2.png"),
        ("train/chest/abd.png", "train/chest/abd.png"),
        ("train/abd/patient-7/chest.png", "train/abd/patient-7/chest.png"),
        ("train/siteA/abd/1.png", "train/abd/siteA/1.png"),
        ("abd_project/train/CXR/1.png", "train/chest/1.png"),
        ("test/3fabd2-chest.png", "test/chest/3fabd2-chest.png"),
        ("__MACOSX/train/abd/._abd0.png", None),
        ("train/abd/", None),
    ],
)
def test_both_archives_have_the_tutorials_layout(member, place):
    found = radiographs.place_of(member)
    assert place == (found and found.as_posix())


def test_a_name_that_speaks_of_no_class_or_of_both():
    for member in ("train/3fabd2.png", "train/abd_or_chest.png", "val/abd-chest/1.png"):
        with pytest.raises(ValueError, match=f"radiographs: {member} is neither in a folder nor under a name of"):
            radiographs.place_of(member)


def test_two_sites_with_the_same_file_names(tmp_path):
    """Under the split, above it, and in folders of the same class: no image takes another's place."""
    members = [
        f"{site}/{split}/{label}/1.png" for site in "AB" for split in ("train", "val") for label in ("abd", "cxr")
    ]
    members += ["train/abd/A/2.png", "train/abd/B/2.png", "train/A/chest/2.png", "train/chest/A/2.png"]
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for member in members:
            archive.writestr(member, member)
    root = radiographs.load(tmp_path / "films.zip")
    unpacked = {file.read_text(): file.relative_to(root).parts[:2] for file in get_image_files(root)}
    assert sorted(unpacked) == sorted(members)
    for member, (split, label) in unpacked.items():
        assert split in member and (label == "abd") == ("abd" in member)


def test_the_real_radiographs(shared):
    root = radiographs.load(shared / "data" / "Open_I_abd_vs_CXRs.zip")
    counts = [
        len(get_image_files(root / split / label)) for split in ("train", "val", "test") for label in ("abd", "chest")
    ]
    assert counts == [32, 33, 5, 5, 1, 1]
    assert radiographs.load(shared / "data" / "Open_I_abd_vs_CXRs.zip") == root == radiographs.load(root)
    train, valid = split_by_folder(root, "train", "valid")
    assert (len(train), len(valid)) == (65, 10)


def test_an_archive_without_radiographs(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="broken.zip is damaged"):
        radiographs.load(tmp_path / "broken.zip")
    with pytest.raises(FileNotFoundError, match="nothing at .*missing.zip"):
        radiographs.load(tmp_path / "missing.zip")
