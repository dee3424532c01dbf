"""Which layers are measured: those of networks that people know, by suite.

Shapes are the networks' own, for one image; a run multiplies the batch. Sources: K. He et al.,
"Deep Residual Learning" (2015), ResNet-50 of torchvision with the stride in the 3 x 3; K. Simonyan
and A. Zisserman, VGG-16 (2014); O. Ronneberger et al., U-Net (2015), with padding; Z. Liu et al.,
ConvNeXt-T (2022); M. Sandler et al., MobileNetV2 (2018); A. Dosovitskiy et al., ViT (2020);
A. Radford et al., DCGAN (2015); A. Radford et al., Whisper (2022); D. Tran et al., R3D-18 (2018);
X. Ding et al., RepLKNet (2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.cases import FORWARD, TO_INPUT, TO_WEIGHT, Case, Ints


def conv(name: str, input: Ints, outputs: int, kernel: int | Ints, **params: Any) -> Case:
    """Return a convolution of (C, *sizes) with a kernel of one size, or one for each dimension."""
    dims = len(input) - 1
    sizes = (kernel,) * dims if isinstance(kernel, int) else kernel
    weight = (outputs, input[0] // params.get("groups", 1), *sizes)
    return Case(name, f"conv{dims}d", (1, *input), params, weight)


def conv_transpose(name: str, input: Ints, outputs: int, kernel: int, **params: Any) -> Case:
    dims = len(input) - 1
    weight = (input[0], outputs // params.get("groups", 1), *(kernel,) * dims)
    return Case(name, f"conv_transpose{dims}d", (1, *input), params, weight)


def windows(op: str, name: str, input: Ints, **params: Any) -> Case:
    """Return an operation without a weight: a pool, or unfold."""
    return Case(name, op, (1, *input), params)


def depthwise(name: str, input: Ints, kernel: int, **params: Any) -> Case:
    return conv(name, input, input[0], kernel, groups=input[0], **params)


RESNET50 = (
    conv("resnet50 7x7/2 3-64 @224", (3, 224, 224), 64, 7, stride=2, padding=3),
    conv("resnet50 1x1 64-256 @56", (64, 56, 56), 256, 1),
    conv("resnet50 3x3 64-64 @56", (64, 56, 56), 64, 3, padding=1),
    conv("resnet50 3x3/2 128-128 @56", (128, 56, 56), 128, 3, stride=2, padding=1),
    conv("resnet50 1x1/2 256-512 @56", (256, 56, 56), 512, 1, stride=2),
    conv("resnet50 3x3 128-128 @28", (128, 28, 28), 128, 3, padding=1),
    conv("resnet50 3x3/2 256-256 @28", (256, 28, 28), 256, 3, stride=2, padding=1),
    conv("resnet50 3x3 256-256 @14", (256, 14, 14), 256, 3, padding=1),
    conv("resnet50 1x1 1024-256 @14", (1024, 14, 14), 256, 1),
    conv("resnet50 3x3 512-512 @7", (512, 7, 7), 512, 3, padding=1),
    conv("resnet50 1x1 2048-512 @7", (2048, 7, 7), 512, 1),
)
VGG16 = (
    conv("vgg16 3x3 3-64 @224", (3, 224, 224), 64, 3, padding=1),
    conv("vgg16 3x3 64-64 @224", (64, 224, 224), 64, 3, padding=1),
    conv("vgg16 3x3 128-256 @56", (128, 56, 56), 256, 3, padding=1),
    conv("vgg16 3x3 512-512 @14", (512, 14, 14), 512, 3, padding=1),
)
UNET = (
    conv("unet 3x3 32-32 @256", (32, 256, 256), 32, 3, padding=1),
    conv("unet 3x3 128-64 @128", (128, 128, 128), 64, 3, padding=1),
    conv_transpose("unet up 2x2/2 128-64 @64", (128, 64, 64), 64, 2, stride=2),
)
DEPTHWISE = (
    depthwise("convnext 7x7 depthwise 96 @56", (96, 56, 56), 7, padding=3),
    depthwise("convnext 7x7 depthwise 768 @7", (768, 7, 7), 7, padding=3),
    depthwise("mobilenet 3x3 depthwise 144 @56", (144, 56, 56), 3, padding=1),
    depthwise("mobilenet 3x3/2 depthwise 144 @56", (144, 56, 56), 3, stride=2, padding=1),
    depthwise("mobilenet 3x3 depthwise 960 @7", (960, 7, 7), 3, padding=1),
    depthwise("replknet 31x31 depthwise 128 @56", (128, 56, 56), 31, padding=15),
)
OTHERS = (
    conv("patch embedding 16x16/16 3-768 @224", (3, 224, 224), 768, 16, stride=16),
    conv("convnext stem 4x4/4 3-96 @224", (3, 224, 224), 96, 4, stride=4),
    conv("grouped 3x3 128-128 g32 @56", (128, 56, 56), 128, 3, padding=1, groups=32),
    conv("alexnet 5x5 64-192 @27", (64, 27, 27), 192, 5, padding=2),
    conv("dilated 3x3d2 256-256 @28", (256, 28, 28), 256, 3, padding=2, dilation=2),
    conv("audio conv1d k9 64-64 @16000", (64, 16000), 64, 9, padding=4),
    conv("whisper conv1d k3 80-384 @3000", (80, 3000), 384, 3, padding=1),
    conv("whisper conv1d k3/2 384-384 @3000", (384, 3000), 384, 3, stride=2, padding=1),
    conv("video conv3d 3x3x3 16-16 @16x56x56", (16, 16, 56, 56), 16, 3, padding=1),
    conv_transpose("dcgan up 4x4/2 256-128 @16", (256, 16, 16), 128, 4, stride=2, padding=1),
)
POOLS = (
    windows("max_pool2d", "max 2x2/2 64 @224", (64, 224, 224), kernel_size=2),
    windows("max_pool2d", "max 3x3/2 64 @112", (64, 112, 112), kernel_size=3, stride=2, padding=1),
    windows(
        "max_pool2d",
        "max 3x3/2 64 @112, indices",
        (64, 112, 112),
        kernel_size=3,
        stride=2,
        padding=1,
        return_indices=True,
    ),
    windows(
        "max_pool2d",
        "max 13x13/1 256 @13 (SPP)",
        (256, 13, 13),
        kernel_size=13,
        stride=1,
        padding=6,
    ),
    windows("max_pool3d", "max 2x2x2/2 16 @32x64x64", (16, 32, 64, 64), kernel_size=2),
    windows("max_pool1d", "max k4/4 64 @16000", (64, 16000), kernel_size=4),
    windows("avg_pool2d", "average 2x2/2 64 @224", (64, 224, 224), kernel_size=2),
    windows(
        "avg_pool2d", "average 3x3/2 64 @112", (64, 112, 112), kernel_size=3, stride=2, padding=1
    ),
    windows("adaptive_avg_pool2d", "global average 2048 @7", (2048, 7, 7), output_size=1),
    windows("adaptive_avg_pool2d", "adaptive average 7x7 256 @13", (256, 13, 13), output_size=7),
    windows("adaptive_max_pool2d", "adaptive max 6x6 256 @13", (256, 13, 13), output_size=6),
)


def _unfold(name: str, input: Ints, kernel: int, **params: Any) -> Case:
    dims = len(input) - 1
    return Case(name, "unfold", (1, *input), {"kernel_size": (kernel,) * dims, **params})


UNFOLDS: tuple[Case, ...] = (
    _unfold("7x7/2 3 @224", (3, 224, 224), 7, stride=2, padding=3),
    _unfold("3x3 64 @56", (64, 56, 56), 3, padding=1),
    _unfold("3x3 128 @28", (128, 28, 28), 3, padding=1),
    _unfold("3x3 512 @7", (512, 7, 7), 3, padding=1),
    _unfold("16x16/16 3 @224", (3, 224, 224), 16, stride=16),
    _unfold("k9 64 @16000", (64, 16000), 9, padding=4),
    _unfold("3x3x3 16 @16x28x28", (16, 16, 28, 28), 3, padding=1),
)


def fold_of(case: Case) -> Case:
    """Return the fold of what an unfold gives."""
    params = {**case.params, "output_size": case.input[2:]}
    return Case(case.name, "fold", case.output, params)


def _named(prefix: str, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    return tuple(replace(case, name=f"{prefix} {case.name}") for case in cases)


FOLDS = _named("fold", tuple(fold_of(case) for case in UNFOLDS))
UNFOLDS = _named("unfold", UNFOLDS)

SMALL = (
    replace(conv("small conv 3x3 8-8 @16", (8, 16, 16), 8, 3, padding=1), small_call=True),
    replace(
        windows("max_pool2d", "small max 2x2 8 @16", (8, 16, 16), kernel_size=2), small_call=True
    ),
    replace(_unfold("small unfold 3x3 8 @16", (8, 16, 16), 3, padding=1), small_call=True),
)


# Some with the bias that they have in their networks: added on the way it costs nothing, and else a
# pass through the output.
BIASES = tuple(
    replace(case, name=f"{case.name}, bias", bias=True)
    for case in (VGG16[1], DEPTHWISE[0], OTHERS[0], SMALL[0])
)


def gradient(case: Case, direction: str) -> Case:
    word = "input" if direction == TO_INPUT else "weight"
    return replace(case, name=f"{case.name}, to {word}", direction=direction)


def _gradients(*cases: Case) -> tuple[Case, ...]:
    to_input = [gradient(case, TO_INPUT) for case in cases]
    to_weight = [gradient(case, TO_WEIGHT) for case in cases if case.convolves]
    return (*to_input, *to_weight)


GRADIENTS = _gradients(
    RESNET50[0],
    RESNET50[2],
    RESNET50[3],
    RESNET50[7],
    RESNET50[1],
    UNET[2],
    DEPTHWISE[0],
    DEPTHWISE[2],
    OTHERS[4],
    OTHERS[6],
    POOLS[0],
    POOLS[1],
    POOLS[6],
    POOLS[7],
)


def of_dtype(case: Case, dtype: str) -> Case:
    return replace(case, name=f"{case.name}, {dtype}", dtype=dtype)


# What other dtypes cost. Half types are for GPUs most of all: on a CPU they are summed as float32.
HALVES = ("float16", "bfloat16")
DTYPES = tuple(
    of_dtype(case, dtype)
    for case in (RESNET50[2], UNFOLDS[1], DEPTHWISE[2])
    for dtype in ("float64", "complex64")
)
HALF_TYPES = tuple(
    of_dtype(case, dtype)
    for case in (*RESNET50[:4], RESNET50[5], RESNET50[7], RESNET50[9], UNFOLDS[1], POOLS[1])
    for dtype in HALVES
)


def _scaling() -> tuple[Case, ...]:
    """Return one 3 x 3 layer as batch, channels, image and kernel grow, one at a time."""
    cases = []
    for axis, values in {
        "batch": (1, 2, 4, 8),
        "channels": (8, 16, 32, 64, 128),
        "image": (14, 28, 56, 112),
        "kernel": (1, 3, 5, 7, 11),
    }.items():
        for value in values:
            size = {"batch": 1, "channels": 32, "image": 56, "kernel": 3, axis: value}
            case = conv(
                f"scaling {axis} {value}",
                (size["channels"], size["image"], size["image"]),
                size["channels"],
                size["kernel"],
                padding="same",
            )
            cases.append(case.with_batch(size["batch"]))
    return tuple(cases)


TABLE = (RESNET50[0], RESNET50[2], RESNET50[5], RESNET50[7], RESNET50[9])


def _gpu() -> tuple[Case, ...]:
    """Return what is measured on a GPU, the most important first, for time may not do for all.

    The layers of a table of bounds, in three dtypes; then everything else but what repeats it.
    """
    columns = tuple(
        _unfold(f"3x3 {channels} @{side}", (channels, side, side), 3, padding=1)
        for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7))
    )
    columns = (UNFOLDS[0], *_named("unfold", columns))
    folds = tuple(
        replace(fold_of(case), name=f"fold {case.name.removeprefix('unfold ')}") for case in columns
    )
    pools = (*POOLS[1:3], POOLS[7], *_gradients(POOLS[1], POOLS[7]))
    halves = tuple(of_dtype(case, dtype) for dtype in ("bfloat16", "float16") for case in TABLE)
    first = (*columns, *folds, *pools, *TABLE, *halves, SMALL[0], *DEPTHWISE[:4])
    rest = (*GRADIENTS, *CONVOLUTIONS, *POOLS, *UNFOLDS, *FOLDS, *SMALL, *BIASES)
    rest = (*rest, *HALF_TYPES, *DTYPES)
    return tuple({case.name: case for case in (*first, *rest)}.values())


CONVOLUTIONS = (*RESNET50, *VGG16, *UNET, *DEPTHWISE, *OTHERS)
SUITES: dict[str, tuple[Callable[[], tuple[Case, ...]], str]] = {
    "quick": (
        lambda: (
            *(RESNET50[2], RESNET50[7], RESNET50[1], DEPTHWISE[2]),
            *(UNFOLDS[1], FOLDS[1], POOLS[1], POOLS[7], gradient(RESNET50[7], TO_WEIGHT), SMALL[0]),
        ),
        "ten cases of all kinds, under a minute",
    ),
    "resnet50": (lambda: (*RESNET50, POOLS[1], POOLS[8]), "the layers of ResNet-50"),
    "unfold": (lambda: (*UNFOLDS, *FOLDS), "im2col and col2im, in 1, 2 and 3 dimensions"),
    "pool": (lambda: POOLS, "maxima and averages"),
    "conv": (
        lambda: CONVOLUTIONS,
        "ResNet-50, VGG, U-Net, ConvNeXt, MobileNet, patches, audio, video, transposed",
    ),
    "bias": (lambda: BIASES, "layers with the bias that they have in their networks"),
    "grad": (lambda: GRADIENTS, "gradients to the input and to the weight"),
    "dtypes": (lambda: (*DTYPES, *HALF_TYPES), "float64, complex64 and the half types"),
    "small": (lambda: SMALL, "tiny inputs, where the call itself is what takes time"),
    "gpu": (_gpu, "what bench/gpu.sh measures, the layers of its table first"),
    "scaling": (_scaling, "a 3 x 3 layer as batch, channels, image and kernel grow"),
}


def suite(name: str, on_gpu: bool) -> tuple[Case, ...]:
    """Return the cases of a suite.

    "all" is every one but the half types, which a GPU gets too; a CPU gets them by "dtypes".
    """
    if name == "all":
        own = ("quick", "resnet50", "dtypes", "scaling", "gpu")
        names = [each for each in SUITES if each not in own]
        every = [case for each in names for case in SUITES[each][0]()]
        return (*every, *DTYPES, *(HALF_TYPES if on_gpu else ()), *_scaling())
    cases = SUITES[name][0]()
    with_halves = on_gpu or name == "dtypes"
    return tuple(case for case in cases if with_halves or case.dtype not in HALVES)


def batched(cases: tuple[Case, ...], batch: int) -> tuple[Case, ...]:
    """Return the cases for so many images; small calls and the scaling suite keep their own."""
    return tuple(
        case if case.small_call or case.name.startswith("scaling") else case.with_batch(batch)
        for case in cases
    )


__all__ = ["FORWARD", "SUITES", "batched", "suite"]
