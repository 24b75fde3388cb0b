"""Preprocessing: every published kernel to the bit, the fast one within its tolerance."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from endostream.engines.preprocess import EXACT_PIXELS, Preprocessor, halve, reduce, resize
from endostream.packs import Kernel, Preprocessing
from endostream.types import ImageArray

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZES = [(720, 1280), (1080, 1920), (576, 720), (384, 384), (101, 333), (40, 30), (2, 2), (1, 1)]


def picture(rows: int, columns: int, seed: int = 0) -> ImageArray:
    """Soft shapes, hard edges and noise."""
    random = np.random.default_rng(seed)
    soft = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(soft, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image[:, : columns // 8] = 0
    image[rows // 3 : rows // 2, columns // 3 : columns // 2] = 255
    image += random.integers(-12, 13, image.shape, dtype=np.int16)
    return np.clip(image, 0, 255).astype(np.uint8)


def expected(image: ImageArray, size: int, kernel: str) -> np.ndarray:
    if kernel.startswith("cv2"):
        how = {"cv2-linear": cv2.INTER_LINEAR, "cv2-cubic": cv2.INTER_CUBIC}[kernel]
        return cv2.resize(image, (size, size), interpolation=how)
    how = {"pil-bilinear": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC}[kernel]
    return np.array(Image.fromarray(image).resize((size, size), how))


@pytest.mark.parametrize("kernel", ["pil-bilinear", "pil-bicubic", "cv2-linear", "cv2-cubic"])
@pytest.mark.parametrize("shape", SIZES)
def test_published_kernels_are_exact_to_the_bit(kernel: Kernel, shape: tuple[int, int]) -> None:
    image = picture(*shape)
    image.setflags(write=False)
    found = Preprocessor(Preprocessing(64, 64, kernel, *IMAGENET), exact=True)(image)
    plain = torch.from_numpy(expected(image, 64, kernel)).permute(2, 0, 1).float().div(255)
    normal = (plain - torch.tensor(IMAGENET[0])[:, None, None]) / torch.tensor(IMAGENET[1])[:, None, None]
    assert found.dtype == np.float32 and found.shape == (1, 3, 64, 64)
    assert np.array_equal(found[0], normal.numpy())


@pytest.mark.parametrize("kernel", ["pil-bilinear", "pil-bicubic"])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("size", [224, 256, 320])
def test_the_fast_kernel_keeps_to_the_exact_one(kernel: Kernel, shape: tuple[int, int], size: int) -> None:
    image = picture(*shape)
    how = Preprocessing(size, size, kernel)
    exact, fast = (Preprocessor(how, exact=e)(image) * 255 for e in (True, False))
    gap = np.abs(exact - fast)
    assert gap.mean() < 1.0
    assert np.percentile(gap, 99.9) < 16
    if shape[0] * shape[1] <= EXACT_PIXELS:
        assert gap.max() == 0, "PIL itself is fast enough"


@pytest.mark.parametrize("shape", [(720, 1280), (1080, 1920), (576, 720), (541, 967)])
def test_the_fast_kernel_keeps_flat_areas_and_brightness(shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), 137, np.uint8)
    assert np.array_equal(np.unique(reduce(flat, 256, 256)), [137])
    image = picture(*shape)
    assert abs(float(reduce(image, 256, 256).mean()) - float(image.mean())) < 0.5


def test_the_fast_kernel_does_not_alias() -> None:
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(reduce(stripes, 224, 224).astype(int)) <= 4, "every second column is finer than the target"


@pytest.mark.parametrize("kernel", ["cv2-linear", "cv2-cubic"])
def test_kernels_without_antialiasing_are_never_approximated(kernel: Kernel) -> None:
    image, how = picture(720, 1280), Preprocessing(320, 320, kernel)
    assert np.array_equal(Preprocessor(how, exact=False)(image), Preprocessor(how, exact=True)(image))


def test_halving_stops_before_the_target_and_at_odd_sizes() -> None:
    assert halve(picture(1080, 1920), 224, 224).shape == (270, 480, 3)
    assert halve(picture(720, 1280), 320, 320).shape == (720, 1280, 3)
    assert halve(picture(721, 1280), 32, 32).shape == (721, 1280, 3)
    block = np.zeros((4, 4, 3), np.uint8)
    block[:2, :2] = 200
    assert np.array_equal(halve(block, 1, 1), np.array([[[200] * 3, [0] * 3], [[0] * 3, [0] * 3]]))


def test_part_of_a_picture_is_taken_as_it_is() -> None:
    whole = picture(400, 600)
    part = whole[10:300, 50:500]
    run = Preprocessor(Preprocessing(56, 56, "pil-bilinear"), exact=True)
    first = run(part).copy()
    assert np.array_equal(first, run(np.ascontiguousarray(part)))


def test_the_size_asked_for_is_width_by_height() -> None:
    image = picture(90, 120)
    assert resize(image, 48, 32, "cv2-linear").shape == (32, 48, 3)
    assert resize(image, 48, 32, "pil-bilinear").shape == (32, 48, 3)
    assert Preprocessor(Preprocessing(48, 32, "cv2-linear"), exact=False)(image).shape == (1, 3, 32, 48)


def test_channels_stay_red_green_blue() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 255
    found = Preprocessor(Preprocessing(4, 4, "cv2-linear"), exact=True)(image)
    assert found[0, 0].min() == 1 and not found[0, 1:].any()
