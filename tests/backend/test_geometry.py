"""Sizes and errors of windows: against a count by hand, against PyTorch, and the text of each error."""

import re

import pytest
from hypothesis import given, strategies as st

from tinygrad_med.backend.geometry import conv_geometry, conv_transpose_geometry, pool_geometry


@given(
    size=st.integers(1, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
def test_out_is_the_number_of_places_where_the_window_fits(size, kernel, stride, before, after, dilation):
    starts = range(-before, size + after, stride)
    fits = [s for s in starts if s + dilation * (kernel - 1) < size + after]
    arguments = {"stride": stride, "padding": ((before, after), (before, after)), "dilation": dilation}
    if fits:
        geometry = conv_geometry((2, 1, size, size), (1, 1, kernel, kernel), **arguments)
        assert geometry.out == (len(fits), len(fits))
    else:
        with pytest.raises(ValueError, match="more than the padded input"):
            conv_geometry((2, 1, size, size), (1, 1, kernel, kernel), **arguments)


def test_every_spelling_of_padding():
    def padding(value, kernel=(4, 3), dilation=1):
        return conv_geometry((1, 1, 9, 9), (1, 1, *kernel), padding=value, dilation=dilation).padding

    assert padding(1) == ((1, 1), (1, 1))
    assert padding((2, 1)) == ((2, 2), (1, 1))
    assert padding(((0, 2), (1, 0))) == ((0, 2), (1, 0))
    assert padding("valid") == ((0, 0), (0, 0))
    assert padding("same") == ((1, 2), (1, 1)), "PyTorch puts the odd cell at the end"
    assert padding("same", dilation=2) == ((3, 3), (2, 2))


@given(data=st.data())
def test_pooling_sizes_are_pytorch_s(torch, data):
    kernel = data.draw(st.integers(1, 4), "kernel")
    arguments = {
        "stride": data.draw(st.integers(1, 5), "stride"),
        "padding": data.draw(st.integers(0, kernel // 2), "padding"),
        "dilation": data.draw(st.integers(1, 3), "dilation"),
        "ceil_mode": data.draw(st.booleans(), "ceil_mode"),
    }
    size = data.draw(st.integers(arguments["dilation"] * (kernel - 1) + 1, 14), "size")
    expected = torch.nn.functional.max_pool2d(torch.zeros(1, 1, size, size), kernel, **arguments).shape[2:]
    assert pool_geometry((1, 1, size, size), kernel, **arguments).out == tuple(expected)


@given(data=st.data())
def test_transposed_sizes_are_pytorch_s(torch, data):
    stride, dilation = data.draw(st.integers(1, 4), "stride"), data.draw(st.integers(1, 3), "dilation")
    kernel = data.draw(st.integers(1, 4), "kernel")
    arguments = {
        "stride": stride,
        "dilation": dilation,
        "padding": data.draw(st.integers(0, dilation * (kernel - 1) // 2), "padding"),
        "output_padding": data.draw(st.integers(0, max(stride, dilation) - 1), "output_padding"),
    }
    x, w = torch.zeros(2, 4, 5, 6), torch.zeros(4, 3, kernel, kernel)
    expected = torch.nn.functional.conv_transpose2d(x, w, groups=2, **arguments).shape[2:]
    assert conv_transpose_geometry(x.shape, w.shape, groups=2, **arguments).size == tuple(expected)


@pytest.mark.parametrize(
    ("x", "w", "arguments", "text"),
    [
        (
            (16, 3, 224, 224),
            (64, 1, 7, 7),
            {},
            "conv2d: x has 3 channels (16, 3, 224, 224), weight expects 1 (64, 1, 7, 7); give x 1 channel",
        ),
        ((2, 4, 8, 8), (6, 2, 3, 3), {}, "give x 2 channels or pass groups=2"),
        ((2, 3, 8, 8), (6, 2, 3, 3), {"groups": 2}, "weight expects 2 in each of 2 groups, 4 (6, 2, 3, 3)"),
        ((2, 4, 8, 8), (6, 1, 3, 3), {"groups": 4}, "groups=4 doesn't divide the 6 output channels of weight"),
        ((3, 8, 8), (6, 3, 3, 3), {}, "x has 3 dims (3, 8, 8), expected 4: (N, C, H, W), or 3 without the batch"),
        ((2, 3, 8, 8), (6, 3, 3), {}, "weight has 3 dims (6, 3, 3), expected 4: (out, in / groups, kh, kw)"),
        ((2, 3, 4, 8), (6, 3, 7, 7), {"padding": 1}, "the kernel covers 7×7, more than the padded input 6×10"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"stride": 0}, "stride=0 must be at least 1 on both axes"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"stride": (1, -2)}, "stride=(1, -2) must be at least 1 on both axes"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"dilation": 0}, "dilation=0 must be at least 1"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"padding": -1}, "padding=-1 must be at least 0"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"padding": "full"}, "padding='full' is unknown; use 'same', 'valid'"),
        (
            (2, 3, 8, 8),
            (6, 3, 3, 3),
            {"padding": "same", "stride": 2},
            "padding='same' needs stride 1, got stride=(2, 2)",
        ),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"stride": (1, 2, 3)}, "stride=(1, 2, 3) is neither an integer nor a pair"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"stride": 1.5}, "stride=1.5 is neither an integer nor a pair"),
        ((2, 3, 8, 8), (6, 3, 3, 3), {"groups": 0}, "groups=0 must be at least 1"),
        ((2, 3, 8, 8), (6, 3, 0, 3), {}, "the kernel is 0×3; it needs at least one tap"),
    ],
)
def test_errors_of_convolution(x, w, arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        conv_geometry(x, w, **arguments)


@pytest.mark.parametrize(
    ("x", "arguments", "text"),
    [
        ((3, 8, 8), {}, "max_pool2d: x has 3 dims (3, 8, 8), expected 4: (N, C, H, W)"),
        ((2, 3, 8, 8), {"padding": 2}, "padding=(2, 2) is more than half of kernel_size=(3, 3)"),
        ((2, 3, 2, 8), {}, "the kernel covers 3×3, more than the padded input 2×8"),
        ((2, 3, 8, 8), {"stride": 0}, "stride=0 must be at least 1"),
    ],
)
def test_errors_of_pooling(x, arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        pool_geometry(x, 3, **arguments)


@pytest.mark.parametrize(
    ("x", "w", "arguments", "text"),
    [
        ((2, 3), (6, 3, 3), {}, "conv1d: x has 2 dims (2, 3), expected 3: (N, C, L), or 2 without the batch"),
        ((2, 3, 8), (6, 3, 9), {}, "conv1d: the kernel covers 9, more than the padded input 8"),
        ((2, 3, 8), (6, 3, 3), {"stride": 0}, "stride=0 must be at least 1"),
        ((2, 3, 8), (6, 3, 3), {"stride": (1, 2)}, "stride=(1, 2) is not an integer"),
        ((2, 3, 8, 8, 8), (6, 3, 3, 3, 3), {"dilation": (1, 1)}, "is neither an integer nor three integers"),
        ((2, 3, 8, 8, 8), (6, 3, 3, 3, 9), {}, "the kernel covers 3×3×9, more than the padded input 8×8×8"),
        (
            (2, 3, 8, 8, 8),
            (6, 3, 3, 3),
            {},
            "weight has 4 dims (6, 3, 3, 3), expected 5: (out, in / groups, kd, kh, kw)",
        ),
    ],
)
def test_errors_over_one_and_three_axes(x, w, arguments, text):
    axes = 1 if len(x) < 4 else 3
    with pytest.raises(ValueError, match=re.escape(text)):
        conv_geometry(x, w, **arguments, axes=axes, name=f"conv{axes}d")


@pytest.mark.parametrize(
    ("x", "w", "arguments", "text"),
    [
        ((2, 3, 8), (3, 6, 3, 3), {}, "must have 4 dims"),
        ((2, 3, 8, 8), (4, 6, 3, 3), {}, "x has 3 channels (2, 3, 8, 8), weight expects 4 (4, 6, 3, 3)"),
        ((2, 3, 8, 8), (3, 6, 3, 3), {"groups": 2}, "groups=2 doesn't divide the 3 input channels"),
        ((2, 3, 8, 8), (3, 6, 3, 3), {"output_padding": 1}, "output_padding=(1, 1) must be less than stride=(1, 1)"),
        ((2, 3, 1, 8), (3, 6, 3, 3), {"padding": 2}, "gives an output of -1×6; pad less"),
    ],
)
def test_errors_of_transposed_convolution(x, w, arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        conv_transpose_geometry(x, w, **arguments)
