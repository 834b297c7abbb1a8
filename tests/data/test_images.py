"""Images in folders: which files, which labels, every kind of picture, and what is said about bad ones."""

from __future__ import annotations

import math
import shutil
import struct
import zipfile
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tinygrad_med.data import radiographs
from tinygrad_med.data.grey import GreyError, to_grey
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


# Numbers that are not bytes ------------------------------------------------------------------------------------------


def grey(path, **options):
    return np.asarray(open_image(path, "L", **options))


def deep_png(path, samples, transparent=None, exif=None):
    """A PNG of 16-bit samples (H, W) or (H, W, C), as its specification has it: Pillow writes few of them."""
    samples = np.asarray(samples, ">u2")
    height, width, *channels = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels[0] if channels else 1]
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    chunks += [(b"tRNS", struct.pack(">H", transparent))] if transparent is not None else []
    chunks += [(b"eXIf", exif)] if exif else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def tiff(path, values, photometric=1):
    """A TIFF of numbers of any kind, as its specification has it."""
    values = np.ascontiguousarray(values)
    order = ">" if values.dtype.byteorder == ">" else "<"
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {256: values.shape[1], 257: values.shape[0], 258: 8 * values.itemsize, 259: 1, 262: photometric, 273: 8}
    tags |= {277: 1, 278: values.shape[0], 279: values.nbytes, 339: sample_format}
    directory = struct.pack(f"{order}H", len(tags))
    for tag, value in tags.items():
        directory += struct.pack(f"{order}HHI", tag, 4 if tag in (273, 279) else 3, 1)
        directory += struct.pack(
            f"{order}I" if tag in (273, 279) else f"{order}HH", *([value] if tag in (273, 279) else [value, 0])
        )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + values.nbytes)
    path.write_bytes(head + values.tobytes() + directory + bytes(4))
    return path


@given(st.lists(st.integers(0, 65535), min_size=4, max_size=4), st.integers(8, 16), st.sampled_from(["png", "tif"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bits_keep_the_upper_eight(tmp_path, numbers, bits, suffix):
    deep = np.array(numbers, np.uint16).reshape(2, 2)
    path = deep_png(tmp_path / "x.png", deep) if suffix == "png" else tiff(tmp_path / "x.tif", deep)
    expected = [[min(int(v) >> (bits - 8), 255) for v in row] for row in deep]
    np.testing.assert_array_equal(grey(path, bits=bits), expected)


NUMBERS = {
    "int8": st.integers(-128, 127),
    "int16": st.integers(-32768, 32767),
    "uint16": st.integers(0, 65535),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float32": st.floats(-1e6, 1e6, width=32),
}


@given(
    data=st.data(),
    dtype=st.sampled_from(sorted(NUMBERS)),
    order=st.sampled_from("<>"),
    window=st.tuples(st.integers(-2000, 2000), st.integers(1, 5000)).map(lambda w: (w[0], w[0] + w[1])),
    inverted=st.booleans(),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_is_cut_into_256_equal_steps(tmp_path, data, dtype, order, window, inverted):
    numbers = data.draw(st.lists(NUMBERS[dtype] | st.integers(window[0] - 9, window[1] + 9), min_size=6, max_size=6))
    if dtype != "float32":
        numbers = np.clip(numbers, np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.array(numbers, np.dtype(dtype).newbyteorder(order)).reshape(2, 3)
    low, high = window
    inverted = inverted and dtype in ("uint16", "float32") and order == "<"  # Pillow opens no others with a white zero
    steps = [math.floor((Fraction(float(v)) - low) * 256 / (high - low)) for v in values.flat]
    expected = np.array([min(max(s, 0), 255) for s in steps]).reshape(2, 3)
    found = grey(tiff(tmp_path / "x.tif", values, photometric=0 if inverted else 1), window=window)
    np.testing.assert_array_equal(found, 255 - expected if inverted else expected)


def test_large_pictures_go_through_a_table_with_the_same_grey_values():
    values = np.random.default_rng(0).integers(0, 2**16, (300, 300)).astype(np.uint16)
    for window in [(0.0, 65536.0), (12.5, 4095.0), (-1000.0, 300.5)]:
        by_rows = np.concatenate([to_grey(row, window) for row in values])
        np.testing.assert_array_equal(to_grey(values, window).ravel(), by_rows)


def test_what_has_no_window_of_its_own_is_not_guessed(tmp_path):
    hounsfield = np.linspace(-1000, 1000, 64).reshape(8, 8)
    for dtype in ("int16", "int32", "float32"):
        path = tiff(tmp_path / f"{dtype}.tif", hounsfield.astype(dtype))
        with pytest.raises(GreyError, match=rf"{dtype}.tif: its numbers, .* from -1000 to 1000, .* give window="):
            open_image(path)
        assert np.diff(grey(path, window=(-1000, 1000)).ravel().astype(int)).min() >= 3
    path = tiff(tmp_path / "map.tif", np.array([[0, 0.5, 1, np.nan, np.inf, -np.inf]], np.float32))
    assert grey(path, window=(0, 1)).tolist() == [[0, 128, 255, 0, 255, 0]]
    with pytest.raises(
        GreyError, match=r"dark.png: its 16-bit numbers go up to 2047 only; give bits=12 .*, or bits=16"
    ):
        open_image(deep_png(tmp_path / "dark.png", np.full((2, 2), 2047)))
    assert grey(deep_png(tmp_path / "full.png", [[0, 300, 65535]])).tolist() == [[0, 1, 255]]
    assert grey(deep_png(tmp_path / "black.png", [[0, 0]])).tolist() == [[0, 0]]


def test_what_a_window_can_be(tmp_path):
    path = deep_png(tmp_path / "x.png", [[5000]])
    for options in ({"window": (5, 5)}, {"window": (0, np.inf)}, {"bits": 0}, {"bits": 12, "window": (0, 1)}):
        with pytest.raises(ValueError, match="images: (window|bits)="):
            open_image(path, **options)


@pytest.mark.parametrize("largest", [[2047, 4095], [300, 3000, 2048], [65535, 100], [200, 255]])
def test_the_films_of_one_detector_keep_their_relation(tmp_path, capsys, largest):
    """A pixel of the same number is equally bright on each film, whatever the brightest one of its film."""
    for i, most in enumerate(largest * 2):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        deep_png(tmp_path / "ab"[i % 2] / f"{i}.png", np.array([[100, most], [100, 0]]))
    (tmp_path / "b" / "bytes.png").write_bytes(
        write(tmp_path / "x" / "y.png", np.full((2, 2), 100, np.uint8)).read_bytes()
    )
    shutil.rmtree(tmp_path / "x")
    dls = ImageDataLoaders.from_folder(tmp_path, valid_pct=0.5, mode="L", item_tfms=Resize(2))
    depth = next(d for d in (8, 10, 12, 14, 16) if max(largest) < 2**d)
    assert f"so all of them are taken as {depth}-bit ones; give bits= to choose otherwise" in capsys.readouterr().out
    for images in (dls.train.dataset.images, dls.valid.dataset.images):
        for file in images.files:
            pixel = np.asarray(images.open(images.files.index(file)))[0, 0]
            assert pixel == (100 if file.name == "bytes.png" else 100 >> (depth - 8))
    chosen = ImageDataLoaders.from_folder(tmp_path, valid_pct=0.5, mode="L", bits=16, item_tfms=Resize(2))
    assert chosen.window == (0, 65536) and capsys.readouterr().out == ""
    ((x, *_),) = dls.test_dl([tmp_path / "a" / "0.png"])
    np.testing.assert_allclose(dls.decode(x)[0, 0, 0, 0] * 255, 100 >> (depth - 8), atol=1e-3)


def test_deep_pictures_with_transparency(tmp_path):
    assert grey(deep_png(tmp_path / "t.png", [[5000, 60000]], transparent=60000)).tolist() == [[19, 0]]
    both = np.array([[[40000, 65535], [40000, 0]]])
    assert grey(deep_png(tmp_path / "la.png", both)).tolist() == [[156, 0]]
    with pytest.raises(GreyError, match=r"of its 16 bits per channel only the upper 8 can be read"):
        open_image(deep_png(tmp_path / "low.png", np.minimum(both, [2000, 65535])))
    with pytest.raises(GreyError, match=r"of its 16 bits per channel only the upper 8 can be read"):
        open_image(tmp_path / "la.png", bits=12)


TURNS = {  # EXIF's orientation: where the 0th row and the 0th column of the stored picture are on the upright one
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_stand_upright(tmp_path, orientation):
    exif = pillow.Exif()
    exif[0x0112] = orientation
    stored = np.array([[0, 100, 200], [10, 50, 255]], np.uint8)
    image = pillow.fromarray(stored)
    image.save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(grey(tmp_path / "x.png"), TURNS[orientation](stored))
    image.resize((48, 32), 0).save(tmp_path / "x.jfif", "JPEG", exif=exif, quality=100)
    found = grey(tmp_path / "x.jfif").astype(int)
    expected = np.asarray(image.resize((48, 32), 0))
    assert np.abs(found - TURNS[orientation](expected)).max() < 40
    deep = stored.astype(np.uint16) * 257
    deep_png(tmp_path / "d.png", deep, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    np.testing.assert_array_equal(grey(tmp_path / "d.png"), TURNS[orientation](stored))


def test_jfif_is_an_image(tmp_path):
    write(tmp_path / "x.jpg", np.zeros((4, 4), np.uint8)).rename(tmp_path / "x.JFIF")
    assert get_image_files(tmp_path) == [tmp_path / "x.JFIF"]


def test_a_file_of_several_pictures_is_no_picture(tmp_path):
    pages = [pillow.fromarray(np.full((4, 4), v, np.uint8)) for v in (0, 200)]
    for name in ("x.tif", "x.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(ValueError, match=rf"{name} can't be read \(it holds several pictures; save the one"):
            open_image(tmp_path / name)


def test_no_other_program_reads_a_picture(tmp_path, monkeypatch):
    """PostScript that is called film.png would go to Ghostscript."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / "film.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match=r"film.png can't be read \(cannot identify"):
        open_image(tmp_path / "film.png")


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


def claiming(width: int, height: int) -> bytes:
    """A grey PNG of 16 bits that has ten bytes of what it says."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(10))))
    sealed = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def test_a_picture_without_its_palette_is_named(tmp_path):
    path = write(tmp_path / "a.png", np.arange(64, dtype=np.uint8).reshape(8, 8), "P")
    data = path.read_bytes()
    at = data.index(b"PLTE") - 4
    path.write_bytes(data[:at] + data[at + 12 + int.from_bytes(data[at : at + 4], "big") :])
    with pytest.raises(ValueError, match=r"a\.png can't be read \(its pixels are places in a palette, which it lacks"):
        open_image(path)


def test_a_small_file_that_claims_to_be_large_is_refused_before_it_takes_memory(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(claiming(16, 5_000_000))
    monkeypatch.setattr(pillow.Image, "load", lambda _: pytest.fail("its pixels are read"))
    with pytest.raises(ValueError, match=r"bomb.png can't be read \(its 56 bytes can't hold the 16×5000000 pixels"):
        open_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".png", "L"), (".png", "1"), (".gif", "L"), (".tif", "L"), (".webp", "L")]
)
def test_a_large_blank_picture_is_no_such_file(tmp_path, suffix, mode):
    options = {".tif": {"compression": "tiff_deflate"}, ".webp": {"lossless": True, "method": 0}}.get(suffix, {})
    pillow.new(mode, (4000, 4000)).save(tmp_path / f"blank{suffix}", **options)
    assert open_image(tmp_path / f"blank{suffix}", "L").size == (4000, 4000)


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


# Folders that are laid out in other ways -----------------------------------------------------------------------------

PIXELS = np.zeros((4, 4), np.uint8)


def tree(root, files):
    for file in files:
        write(root / file, PIXELS)
    return root


@given(
    st.lists(
        st.tuples(st.sampled_from(["abd", "chest"]), st.lists(st.sampled_from(["p1", "p2", "abd", "s"]), max_size=3)),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_has_the_label_of_its_class_folder_in_training_and_in_use(tmp_path, places, by_folder, seed):
    shutil.rmtree(tmp_path)
    files = {"/".join([label, *inner, f"{i}.png"]): label for i, (label, inner) in enumerate(places)}
    files |= {"abd/x.png": "abd", "chest/x.png": "chest"}
    tops = ("train/", "valid/") if by_folder else ("",)
    tree(tmp_path, [top + file for top in tops for file in files])
    dls = ImageDataLoaders.from_folder(
        tmp_path, item_tfms=Resize(4), **({} if by_folder else {"valid_pct": 0.1, "seed": seed})
    )
    assert dls.vocab == ["abd", "chest"]
    seen = []
    for images in (dls.train.dataset.images, dls.valid.dataset.images):
        again = dls.test_dl(images.files, with_labels=True).dataset.images.labels
        for file, label, other in zip(images.files, images.labels, again, strict=True):
            relative = file.relative_to(tmp_path).as_posix()
            seen.append(relative)
            assert files[relative.removeprefix("train/").removeprefix("valid/")] == dls.vocab[label] == dls.vocab[other]
    assert sorted(seen) == sorted(top + file for top in tops for file in files)


def test_parts_of_a_data_set_are_no_classes(tmp_path, capsys):
    root = tree(
        tmp_path / "a", [f"{part}/{label}/{i}.png" for part in ("train", "valid") for label in "xy" for i in "12"]
    )
    with pytest.raises(
        ValueError, match=r"train, valid, are parts of a data set .*; leave out valid_pct=, or give .*a.train"
    ):
        ImageDataLoaders.from_folder(root, valid_pct=0.5)
    classes = ImageDataLoaders.from_folder(root, valid_pct=0.5, vocab=["train", "valid"])
    assert classes.vocab == ["train", "valid"]
    assert capsys.readouterr().out == ""
    root = tree(tmp_path / "b", ["x/1.png", "x/2.png", "y/1.png", "Test/3.png", "loose.png"])
    dls = ImageDataLoaders.from_folder(root, valid_pct=0.4)
    assert dls.vocab == ["x", "y"] and len(dls.train.dataset) + len(dls.valid.dataset) == 3
    out = capsys.readouterr().out
    assert "Test in " in out and "is no class by its name, and left out; if it is one, give vocab=" in out
    assert "1 images in " in out and "lie in no class folder, and are left out" in out


def test_the_images_of_a_patient_stay_together(tmp_path):
    root = tree(tmp_path, [f"{label}/p{p}/{i}.png" for label in "xy" for p in range(8) for i in range(p % 3 + 1)])
    for seed in range(20):
        train, valid = split_by_chance(root, 0.25, seed)
        assert not {f.parent for f in train.files} & {f.parent for f in valid.files}
        assert abs(len(valid) - len(get_image_files(root)) / 4) <= 3
    with pytest.raises(ValueError, match="no image of .* is left for training"):
        split_by_chance(tree(tmp_path / "one", ["x/p/1.png", "x/p/2.png"]), 0.5, 0)


def test_links_are_followed_and_not_for_ever(tmp_path):
    tree(tmp_path / "elsewhere", ["1.png", "deep/2.png"])
    tree(tmp_path / "data", ["abd/0.png"])
    (tmp_path / "data" / "chest").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "round").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    images = labelled(tmp_path / "data")
    assert [f.relative_to(tmp_path / "data").as_posix() for f in images.files] == [
        "abd/0.png",
        "chest/1.png",
        "chest/deep/2.png",
    ]
    assert images.labels == [0, 1, 1]


def test_outside_of_the_data_set_one_folder_must_say_the_class(tmp_path):
    root = tree(tmp_path / "data", ["abd/1.png", "abd/2.png", "chest/1.png"])
    dls = ImageDataLoaders.from_folder(root, valid_pct=0.4, item_tfms=Resize(4))
    tree(tmp_path / "chest", ["p1/1.png", "abd/2.png"])
    assert dls.test_dl([tmp_path / "chest" / "p1" / "1.png"], with_labels=True).dataset.images.labels == [1]
    with pytest.raises(ValueError, match="lies in folders of several classes, chest, abd; move it"):
        dls.test_dl([tmp_path / "chest" / "abd" / "2.png"], with_labels=True)


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


def test_the_archive_with_such_a_name_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.writestr("train/knee/1.png", b"")
    with pytest.raises(ValueError, match=r"radiographs: train/knee/1.png is neither .*, in .*films.zip"):
        radiographs.load(tmp_path / "films.zip")


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
