"""One change of one picture, or of one image as a tensor (…, C, H, W): torchvision's `transforms.functional`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import ops
from tinygrad_med._files import optional
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import from_numpy, tensor
from tinygrad_med.dtypes import as_dtype, float32, get_default_dtype, uint8
from tinygrad_med.engine.errors import answers
from tinygrad_med.transforms import tensors

if TYPE_CHECKING:
    from PIL.Image import Image


class InterpolationMode(enum.Enum):
    """How values between pixels are found; the first two, bilinear and bicubic are for tensors too."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


_PILLOWS = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def _pillows(interpolation: Any) -> int:
    """Pillow's number of an interpolation; that number itself may be given, as in older tutorials."""
    return _PILLOWS[interpolation.value] if isinstance(interpolation, InterpolationMode) else int(interpolation)


def is_picture(x: Any) -> bool:
    """Whether x is a picture of Pillow's."""
    return isinstance(x, optional("PIL.Image", "transforms of pictures").Image)


def size_of(img: Any, operation: str) -> tuple[int, int]:
    """(height, width) of a picture, or of an image as a tensor.

    Raises:
        TypeError: for something else.
    """
    if isinstance(img, Tensor) and img.ndim >= 2:
        return img.shape[-2], img.shape[-1]
    if isinstance(img, Tensor) or not is_picture(img):
        what = f"a tensor of shape {img.shape}" if isinstance(img, Tensor) else type(img).__name__
        raise TypeError(f"{operation}: needs a picture of Pillow's, or a tensor (…, H, W), got {what}")
    return img.height, img.width


def _only_pictures(img: Any, operation: str) -> None:
    if not is_picture(img):
        raise TypeError(
            f"{operation}: needs a picture of Pillow's, got {type(img).__name__}; put it before ToTensor() in Compose"
        )


def _only_bytes(img: Any, operation: str) -> None:
    """Refuse pictures of 16 bits, or of floats, of which Pillow would make white or black ones without a word."""
    _only_pictures(img, operation)
    if img.mode[0] in "IF":
        raise ValueError(
            f"{operation}: works on bytes, and would cut the numbers of a picture of mode {img.mode} at 255; put it "
            "behind ToTensor() and a division by the largest number"
        )


def _pair(size: Any, operation: str) -> tuple[int, int]:
    """(height, width) of one number or of two."""
    numbers = (size,) if isinstance(size, int) else tuple(size)
    if len(numbers) not in (1, 2) or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ValueError(f"{operation}: size={size!r}; give one positive integer, or height and width")
    return numbers[0], numbers[-1]


# To numbers and back ------------------------------------------------------------------------------------------------


def _numbers(pic: Image) -> numpy.ndarray:
    """A picture's numbers, (C, H, W), in a memory of their own, in a dtype that tensors have."""
    if pic.mode == "1":
        pixels = 255 * numpy.array(pic, numpy.uint8)
    else:
        pixels = numpy.array(pic)
        if pixels.dtype in ("uint16", ">u2"):
            pixels = pixels.astype(numpy.int32)  # torchvision's int16 would make negative numbers of the larger ones
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1))


def to_tensor(pic: Any) -> Tensor:
    """A picture, or an array (H, W) or (H, W, C), as a tensor (C, H, W); bytes become numbers from 0 to 1.

    Other numbers than bytes keep dtype and value, as in torchvision; those of 16 bits become int32.
    """
    if isinstance(pic, numpy.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"to_tensor: an array of shape {pic.shape} is no image; give (H, W) or (H, W, C)")
        pixels = numpy.ascontiguousarray((pic[:, :, None] if pic.ndim == 2 else pic).transpose(2, 0, 1))
    else:
        if isinstance(pic, Tensor) or not is_picture(pic):
            raise TypeError(f"to_tensor: needs a picture of Pillow's or an array, got {type(pic).__name__}")
        pixels = _numbers(pic)
    if pixels.dtype != uint8:
        return tensor(pixels)
    return from_numpy(pixels.astype(get_default_dtype()) / numpy.asarray(255, get_default_dtype()))


def pil_to_tensor(pic: Any) -> Tensor:
    """A picture as a tensor (C, H, W), its numbers unchanged; those of 16 bits become int32."""
    _only_pictures(pic, "pil_to_tensor")
    return from_numpy(_numbers(pic))


def to_pil_image(pic: Any, mode: str | None = None) -> Image:
    """A tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W), as a picture.

    A tensor's floats are taken as 0 to 1, and cut to bytes. One channel makes mode L (I, F for int32, float32 of an
    array), two LA, three RGB, four RGBA, unless a mode is given.
    """
    if isinstance(pic, Tensor):
        x = pic.detach().cpu()
        if x.is_floating_point() and mode != "F":
            x = (x * 255).to(dtype="uint8")
        if x.ndim not in (2, 3):
            raise ValueError(f"to_pil_image: a tensor of shape {x.shape} is no image; give (C, H, W) or (H, W)")
        pixels = x.numpy() if x.ndim == 2 else x.numpy().transpose(1, 2, 0)
    elif isinstance(pic, numpy.ndarray) and pic.ndim in (2, 3):
        pixels = pic
    else:
        raise TypeError(f"to_pil_image: needs a tensor or an array of 2 or 3 dims, got {type(pic).__name__}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kinds = {(1, "uint8"): "L", (1, "int32"): "I", (1, "float32"): "F"}
    kinds |= {(n, "uint8"): kind for n, kind in ((2, "LA"), (3, "RGB"), (4, "RGBA"))}
    found = kinds.get((channels, pixels.dtype.name))
    if found is None:
        raise TypeError(f"to_pil_image: there is no kind of picture for {channels} channels of {pixels.dtype}")
    picture: Image = optional("PIL.Image", "making pictures").fromarray(numpy.ascontiguousarray(pixels))
    if mode is None or mode == picture.mode:
        return picture
    if len(picture.getbands()) == 3 and mode in ("YCbCr", "HSV"):  # the same three numbers, by another meaning
        return optional("PIL.Image", "making pictures").frombytes(mode, picture.size, picture.tobytes())
    raise ValueError(f"to_pil_image: mode {mode!r} does not fit {channels} channels of {pixels.dtype}")


def convert_image_dtype(image: Tensor, dtype: Any = float32) -> Tensor:
    """An image in another dtype; between integers and floats, 255 (or the largest integer) and 1 are the same."""
    dtype, kind = as_dtype(dtype), image.dtype
    if "b" in (dtype.kind, kind.kind):
        raise TypeError(f"convert_image_dtype: {kind} to {dtype}: bools have no scale; use image.to(dtype)")
    if kind == dtype or (kind.kind == "f" and dtype.kind == "f"):
        return image.to(dtype)
    if dtype.kind == "f":
        return image.to(dtype) / float(numpy.iinfo(kind).max)
    most = float(numpy.iinfo(dtype).max)
    if kind.kind == "f":
        if dtype == "int64" or (dtype == "int32" and kind != "float64"):
            raise ValueError(f"convert_image_dtype: {kind} can't tell the numbers of {dtype} apart; use uint8 or int16")
        return ((image.to(float32) if kind == "float16" else image) * (most + 1 - 1e-3)).to(dtype)
    have = float(numpy.iinfo(kind).max)
    return (
        image.to(dtype) * int((most + 1) // (have + 1))
        if most > have
        else (image // int((have + 1) // (most + 1))).to(dtype)
    )


def normalize(tensor: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """(x − mean) / std, a number of each for each channel of an image (…, C, H, W) of floats."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.ndim < 3:
        what = f"{tensor.dtype} {tensor.shape}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"normalize: needs a tensor of floats (…, C, H, W), got {what}; put ToTensor() before it")
    mean_, std_ = (numpy.asarray(v, tensor.dtype).reshape(-1, 1, 1) for v in (mean, std))
    channels = tensor.shape[-3]
    if not (std_ != 0).all():
        raise ValueError(f"normalize: std={std} has a 0, by which nothing can be divided")
    if any(len(v) not in (1, channels) for v in (mean_, std_)):
        raise ValueError(
            f"normalize: {len(mean_)} means and {len(std_)} deviations for an image of {channels} channels; "
            "give one for each channel"
        )
    if inplace:
        return tensor.sub_(_like(mean_, tensor)).div_(_like(std_, tensor))
    return (tensor - _like(mean_, tensor)) / _like(std_, tensor)


def _like(array: numpy.ndarray, x: Tensor) -> Tensor:
    return from_numpy(array).to(x.device)


# Size and place -----------------------------------------------------------------------------------------------------


def resize(
    img: Any,
    size: Any,
    interpolation: Any = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """A picture of another size.

    Args:
        img: a picture, or a tensor (…, C, H, W).
        size: (height, width); or one number: that of the shorter side, the other one in proportion, rounded down.
        interpolation: by default bilinear.
        max_size: with one number, the most that the longer side may have.
        antialias: of a tensor, too, let what falls together be mixed, as Pillow always does.
    """
    height, width = size_of(img, "resize")
    one = isinstance(size, int) or len(size) == 1
    h, w = _pair(size, "resize")
    if one:
        short, long = sorted((height, width))
        new_short, new_long = h, int(h * long / short)
        if max_size is not None:
            if max_size <= h:
                raise ValueError(f"resize: max_size={max_size} must exceed size={h}, the length of the shorter side")
            if new_long > max_size:
                new_short, new_long = int(max_size * new_short / new_long), max_size
        h, w = (new_short, new_long) if height <= width else (new_long, new_short)
    elif max_size is not None:
        raise ValueError("resize: max_size goes with one number as size, that of the shorter side")
    if (h, w) == (height, width):
        return img
    if not isinstance(img, Tensor):
        return img.resize((w, h), _pillows(interpolation))
    mode = interpolation.value if isinstance(interpolation, InterpolationMode) else "bilinear"
    batch = img.reshape(-1, img.shape[-3] if img.ndim > 2 else 1, height, width)
    options: dict[str, Any] = {}
    if mode in ("bilinear", "bicubic"):
        options = {"align_corners": False, "antialias": bool(antialias)}
    found = ops.interpolate(batch.to(float32) if not img.is_floating_point() else batch, (h, w), mode=mode, **options)
    found = found.reshape(*img.shape[:-2], h, w)
    if img.is_floating_point():
        return found
    found = found.clamp(0, 255) if img.dtype == "uint8" else found  # a cubic overshoots
    return found.round().to(img.dtype)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """The part of this height and width at this place; what lies outside of the picture is 0."""
    h, w = size_of(img, "crop")
    if not isinstance(img, Tensor):
        return img.crop((left, top, left + width, top + height))
    part = img[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    beside = [max(-left, 0), max(left + width - max(w, left), 0), max(-top, 0), max(top + height - max(h, top), 0)]
    return ops.pad(part, beside) if any(beside) else part


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle of a picture; one that is too small is padded with 0."""
    h, w = _pair(output_size, "center_crop")
    height, width = size_of(img, "center_crop")
    if w > width or h > height:
        more = max(w - width, 0), max(h - height, 0)
        img = pad(img, [more[0] // 2, more[1] // 2, (more[0] + 1) // 2, (more[1] + 1) // 2])
        height, width = size_of(img, "center_crop")
    return crop(img, round((height - h) / 2), round((width - w) / 2), h, w)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Any,
    interpolation: Any = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A part of the picture, resized."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


_PADDING = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """A picture with more at its edges.

    Args:
        img: a picture, or a tensor (…, C, H, W).
        padding: pixels on all sides; or on the left and the right, above and below; or left, above, right, below.
        fill: with "constant", a number, or one for each channel of a picture.
        padding_mode: "constant"; "edge": the outermost pixels again; "reflect": mirrored without, and "symmetric"
            (pictures only) with the outermost pixels.
    """
    size_of(img, "pad")
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or not all(isinstance(n, int) for n in sides):
        raise ValueError(f"pad: padding={padding!r}; give one, two or four integers")
    left, top, right, bottom = sides if len(sides) == 4 else (sides[0], sides[-1]) * 2
    if padding_mode not in (*_PADDING, "symmetric"):
        raise ValueError(f"pad: padding_mode={padding_mode!r}; give constant, edge, reflect or symmetric")
    if isinstance(img, Tensor):
        if padding_mode == "symmetric":
            raise NotImplementedError("pad: symmetric is for pictures; put it before ToTensor() in Compose")
        options = {"value": fill} if padding_mode == "constant" else {}
        return ops.pad(img, (left, right, top, bottom), mode=_PADDING[padding_mode], **options)
    if padding_mode == "constant":
        expand = optional("PIL.ImageOps", "padding").expand
        return expand(img, (left, top, right, bottom), _fill(img, fill))
    pixels = numpy.asarray(img)
    edges = [(top, bottom), (left, right), (0, 0)][: pixels.ndim]
    found = optional("PIL.Image", "padding").fromarray(numpy.pad(pixels, edges, padding_mode))  # type: ignore[call-overload]
    if img.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):  # the same numbers, by another meaning
        found = optional("PIL.Image", "padding").frombytes(img.mode, found.size, found.tobytes())
    if img.mode == "P":
        found.putpalette(img.getpalette())
    return found


def _fill(img: Image, fill: Any) -> Any:
    """A number for each channel of the picture."""
    bands = len(img.getbands())
    if isinstance(fill, (int, float)):
        return (fill,) * bands if bands > 1 else fill
    if len(fill) not in (1, bands):
        raise ValueError(f"fill={fill!r} has {len(fill)} numbers, the picture {bands} channels; give one, or one each")
    return tuple(fill) * (bands // len(fill)) if bands > 1 else fill[0]


def hflip(img: Any) -> Any:
    """Left and right change places."""
    size_of(img, "hflip")
    return img.flip(-1) if isinstance(img, Tensor) else optional("PIL.ImageOps", "flipping").mirror(img)


def vflip(img: Any) -> Any:
    """Above and below change places."""
    size_of(img, "vflip")
    return img.flip(-2) if isinstance(img, Tensor) else optional("PIL.ImageOps", "flipping").flip(img)


def rotate(
    img: Any,
    angle: float,
    interpolation: Any = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = 0,
) -> Any:
    """A picture turned counter-clockwise.

    Args:
        img: a picture, or a tensor (…, C, H, W).
        angle: in degrees.
        interpolation: by default the nearest pixel; of a tensor also bilinear.
        expand: let the result be so large that nothing is cut off.
        center: (x, y) in pixels; by default the middle.
        fill: what the corners get.
    """
    height, width = size_of(img, "rotate")
    if not isinstance(img, Tensor):
        return img.rotate(angle, _pillows(interpolation), expand, center, fillcolor=_fill(img, fill))
    middle = (0.0, 0.0) if center is None else (center[0] - width / 2, center[1] - height / 2)
    matrix = tensors.inverse_affine(middle, -angle, (0.0, 0.0), 1.0, (0.0, 0.0))
    size = tensors.size_to_hold(matrix, width, height) if expand else (height, width)
    return tensors.warped(img, matrix, size, _between(interpolation, "rotate"), fill)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Any,
    interpolation: Any = InterpolationMode.NEAREST,
    fill: Any = 0,
    center: Sequence[float] | None = None,
) -> Any:
    """A picture turned clockwise, sheared, scaled and moved, in this order from the last.

    Args:
        img: a picture, or a tensor (…, C, H, W).
        angle: in degrees.
        translate: by how many pixels to the right, and down.
        scale: above 0; beyond 1 it grows.
        shear: in degrees along x, or along x and y.
        interpolation, fill, center: as for `rotate`.
    """
    height, width = size_of(img, "affine")
    shears = (float(shear), 0.0) if isinstance(shear, (int, float)) else (*map(float, shear), 0.0)[:2]
    if len(translate) != 2 or not scale > 0:
        raise ValueError(f"affine: {translate=}, {scale=}; give (x, y), and a scale above 0")
    if not isinstance(img, Tensor):
        middle = center or (width * 0.5, height * 0.5)
        matrix = tensors.inverse_affine(middle, angle, translate, scale, shears)
        kind = optional("PIL.Image", "maps of pictures").Transform.AFFINE
        options = {"fillcolor": _fill(img, fill)}
        return img.transform((width, height), kind, matrix, _pillows(interpolation), **options)
    middle = (0.0, 0.0) if center is None else (center[0] - width * 0.5, center[1] - height * 0.5)
    matrix = tensors.inverse_affine(middle, angle, translate, scale, shears)
    return tensors.warped(img, matrix, (height, width), _between(interpolation, "affine"), fill)


def _between(interpolation: Any, operation: str) -> str:
    """The mode of `grid_sample`."""
    names = {number: name for name, number in _PILLOWS.items() if name != "nearest-exact"}
    mode = interpolation.value if isinstance(interpolation, InterpolationMode) else names[interpolation]
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"{operation}: of a tensor, interpolation is NEAREST or BILINEAR, not {mode!r}")
    return mode


def gaussian_blur(img: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """A picture blurred.

    Args:
        img: a picture, or a tensor (…, C, H, W).
        kernel_size: how many pixels are mixed, an odd number, or (x, y).
        sigma: the standard deviation in pixels, or (x, y); by default 0.15 · kernel_size + 0.35.
    """
    size_of(img, "gaussian_blur")
    sizes = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size) * (3 - len(kernel_size))
    if sigma is None:
        sigma = [0.15 * n + 0.35 for n in sizes]
    sigmas = (float(sigma),) * 2 if isinstance(sigma, (int, float)) else tuple(map(float, sigma)) * (3 - len(sigma))
    if any(n < 1 or n % 2 == 0 for n in sizes) or min(sigmas) <= 0:
        raise ValueError(f"gaussian_blur: {kernel_size=}, {sigma=}; give odd sizes, and deviations above 0")
    if isinstance(img, Tensor):
        return tensors.gaussian_blur(img, sizes, sigmas)
    if img.mode in ("1", "P", "CMYK", "LAB"):
        raise ValueError(
            f"gaussian_blur: mixes grey and RGB values, not those of mode {img.mode}; use img.convert('RGB')"
        )
    blurred = tensors.gaussian_blur(pil_to_tensor(img), sizes, sigmas)
    return to_pil_image(blurred).convert(img.mode) if img.mode[:2] == "I;" else to_pil_image(blurred, img.mode)


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """A tensor (…, C, H, W) with h rows from i on, and w columns from j on, set to v."""
    if not isinstance(img, Tensor):
        raise TypeError(f"erase: needs a tensor (…, C, H, W), got {type(img).__name__}; put ToTensor() before it")
    img = img if inplace else img.clone()
    img[..., i : i + h, j : j + w] = v
    return img


def five_crop(img: Any, size: Any) -> tuple[Any, ...]:
    """The four corners of a picture, and its middle: above left and right, below left and right."""
    (h, w), (height, width) = _pair(size, "five_crop"), size_of(img, "five_crop")
    if w > width or h > height:
        raise ValueError(f"five_crop: the picture of {height}×{width} pixels is smaller than the part of {h}×{w}")
    corners = [crop(img, top, left, h, w) for top in (0, height - h) for left in (0, width - w)]
    return (*corners, center_crop(img, (h, w)))


def ten_crop(img: Any, size: Any, vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of a picture, and of the picture flipped."""
    return five_crop(img, size) + five_crop((vflip if vertical_flip else hflip)(img), size)


# Colour -------------------------------------------------------------------------------------------------------------

GREY = (0.2989, 0.587, 0.114)
"""How much red, green and blue count in a grey value of a tensor."""


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """A picture in grey, in one channel or in three that are the same."""
    _only_bytes(img, "to_grayscale")
    if num_output_channels not in (1, 3):
        raise ValueError(f"to_grayscale: num_output_channels={num_output_channels}; give 1 or 3")
    grey = img.convert("L")
    return grey if num_output_channels == 1 else optional("PIL.Image", "grey pictures").merge("RGB", [grey] * 3)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """A picture, or an image (…, 3, H, W), in grey, in one channel or in three that are the same."""
    if not isinstance(img, Tensor):
        return to_grayscale(img, num_output_channels)
    if num_output_channels not in (1, 3) or img.ndim < 3 or img.shape[-3] not in (1, 3):
        raise ValueError(
            f"rgb_to_grayscale: {num_output_channels} channels of an image of shape {img.shape}; give an image of 1 or "
            "3 channels, and ask for 1 or 3"
        )
    grey = img
    if img.shape[-3] == 3:
        red, green, blue = (img[..., c : c + 1, :, :] for c in range(3))
        grey = (GREY[0] * red + GREY[1] * green + GREY[2] * blue).to(img.dtype)
    return ops.cat([grey] * 3, -3) if num_output_channels == 3 else grey


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """A picture with all values multiplied."""
    if isinstance(img, Tensor):
        return _blend("adjust_brightness", img, lambda: img * 0, brightness_factor)
    return _enhance("adjust_brightness", "Brightness", img, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """A picture with the distances of its values from their mean multiplied."""
    if isinstance(img, Tensor):
        return _blend("adjust_contrast", img, lambda: _mean_of_grey(img), contrast_factor)
    return _enhance("adjust_contrast", "Contrast", img, contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """A picture with the distances of its values from its grey values multiplied."""
    if isinstance(img, Tensor):
        return _blend("adjust_saturation", img, lambda: rgb_to_grayscale(img), saturation_factor)
    return _enhance("adjust_saturation", "Color", img, saturation_factor)


def _mean_of_grey(img: Tensor) -> Tensor:
    grey = rgb_to_grayscale(img)
    return (grey if grey.is_floating_point() else grey.to(float32)).mean((-3, -2, -1), keepdim=True)


def _blend(operation: str, img: Tensor, other: Callable[[], Tensor], factor: float) -> Tensor:
    if img.ndim < 3 or img.shape[-3] not in (1, 3):
        raise ValueError(f"{operation}: needs an image (…, C, H, W) of 1 or 3 channels, got shape {img.shape}")
    if factor < 0:
        raise ValueError(f"{operation}: the factor must not be negative, got {factor}")
    return tensors.blend(img, other(), factor)


def _enhance(operation: str, kind: str, img: Any, factor: float) -> Any:
    _only_bytes(img, operation)
    if factor < 0:
        raise ValueError(f"{operation}: the factor must not be negative, got {factor}")
    return getattr(optional("PIL.ImageEnhance", "changing colours"), kind)(img).enhance(factor)


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """A picture (not a tensor): smoothed for a factor of 0, itself for 1, sharper beyond."""
    return _enhance("adjust_sharpness", "Sharpness", img, sharpness_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """A picture with its hues turned, ½ is half around; grey ones stay as they are."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"adjust_hue: hue_factor={hue_factor}; give a number from −0.5 to 0.5")
    if isinstance(img, Tensor):
        if img.ndim < 3 or img.shape[-3] not in (1, 3):
            raise ValueError(f"adjust_hue: needs an image (…, C, H, W) of 1 or 3 channels, got shape {img.shape}")
        if img.shape[-3] == 1:
            return img
        return convert_image_dtype(tensors.turned_hue(convert_image_dtype(img), hue_factor), img.dtype)
    _only_pictures(img, "adjust_hue")
    if img.mode in ("L", "1") or img.mode[0] in "IF":
        return img
    h, s, v = img.convert("HSV").split()
    turned = (numpy.asarray(h).astype(int) + int(hue_factor * 255)).astype(numpy.uint8)
    pillow = optional("PIL.Image", "changing colours")
    return pillow.merge("HSV", (pillow.fromarray(turned), s, v)).convert(img.mode)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """A picture with each value x, from 0 to 1, replaced by gain · xᵞ; a gamma beyond 1 makes shadows darker."""
    size_of(img, "adjust_gamma")
    if gamma < 0:
        raise ValueError(f"adjust_gamma: gamma={gamma} must not be negative")
    if not isinstance(img, Tensor):
        _only_bytes(img, "adjust_gamma")
        table = [int((255 + 1 - 1e-3) * gain * (v / 255.0) ** gamma) for v in range(256)]
        return img.convert("RGB").point([min(v, 255) for v in table] * 3).convert(img.mode)
    x = convert_image_dtype(img)
    return convert_image_dtype((gain * x**gamma).clamp(0, 1), img.dtype)


def invert(img: Any) -> Any:
    """A picture as its negative."""
    size_of(img, "invert")
    if not isinstance(img, Tensor):
        return optional("PIL.ImageOps", "changing colours").invert(img)
    return (tensors.bound(img) if img.is_floating_point() else int(tensors.bound(img))) - img


def posterize(img: Any, bits: int) -> Any:
    """A picture, or a tensor of bytes, with so many bits kept for each value."""
    size_of(img, "posterize")
    if not isinstance(img, Tensor):
        return optional("PIL.ImageOps", "changing colours").posterize(img, bits)
    if not 0 <= bits <= 8:
        raise ValueError(f"posterize: bits={bits}; give a number from 0 to 8")
    if img.dtype != "uint8":
        raise TypeError(f"posterize: needs bytes, got {img.dtype}; put it before ToTensor()")
    return img & -(1 << (8 - bits)) % 256


def solarize(img: Any, threshold: float) -> Any:
    """A picture whose values of the threshold or more are inverted."""
    size_of(img, "solarize")
    if not isinstance(img, Tensor):
        return optional("PIL.ImageOps", "changing colours").solarize(img, threshold)
    return ops.where(img >= threshold, invert(img), img)


def autocontrast(img: Any) -> Any:
    """A picture stretched, each channel by itself, so that its darkest value is black and its lightest white."""
    size_of(img, "autocontrast")
    if not isinstance(img, Tensor):
        return optional("PIL.ImageOps", "changing colours").autocontrast(img)
    x = img if img.is_floating_point() else img.to(float32)
    least, most = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    flat = most == least
    scale = tensors.bound(img) / ops.where(flat, 1.0, most - least)
    found = ops.where(flat, x, ((x - least) * scale).clamp(0, tensors.bound(img)))
    return found.to(img.dtype)


def equalize(img: Any) -> Any:
    """A picture (not a tensor) whose values are spread so that all are about as common."""
    _only_pictures(img, "equalize")
    return optional("PIL.ImageOps", "changing colours").equalize(img)


__getattr__ = answers(globals(), "Pillow's methods work on pictures before ToTensor()")
