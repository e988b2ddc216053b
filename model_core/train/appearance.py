"""Augmentation of grey values: window, noise, blur, compression, a body around a lung crop."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from model_core.base.arrays import FloatArray
from model_core.base.settings import InputSpec

_SPEC = InputSpec()
_SPAN = _SPEC.high_hu - _SPEC.low_hu


def unit(hu: float) -> float:
    """Return a HU value on the network's 0..1 scale."""
    return (hu - _SPEC.low_hu) / _SPAN


def jitter_window(picture: FloatArray, generator: np.random.Generator, *, hu_error: float) -> FloatArray:
    """Shift and stretch the window as its uncertainty allows, and clip as narrower windows do."""
    gain = np.exp(generator.normal(0, 0.5 * hu_error / 450.0))
    shift = generator.normal(0, 0.6 * hu_error) / _SPAN
    middle = unit(-500.0)
    out = (picture - middle) * gain + middle + shift
    if generator.random() < 0.3:
        out = np.minimum(out, unit(generator.uniform(20.0, 200.0)))
    if generator.random() < 0.2:
        out = np.maximum(out, unit(generator.uniform(-1150.0, -960.0)))
    out = np.clip(out, 0.0, 1.0)
    if generator.random() < 0.25:
        out = out ** np.exp(generator.normal(0, 0.15))
    jittered: FloatArray = out.astype(np.float32)
    return jittered


def degrade(picture: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Blur or sharpen, add noise, and compress, each now and then."""
    out = picture
    choice = generator.random()
    if choice < 0.25:
        out = ndimage.gaussian_filter(out, generator.uniform(0.3, 1.3))
    elif choice < 0.45:
        out = out + generator.uniform(0.2, 1.0) * (out - ndimage.gaussian_filter(out, 1.0))
    if generator.random() < 0.4:
        noise = generator.normal(0, 1, out.shape).astype(np.float32)
        if generator.random() < 0.5:  # reconstruction noise is coarser than a pixel
            noise = ndimage.gaussian_filter(noise, 0.7) * 2.0
        out = out + noise * generator.uniform(0.004, 0.035)
    out = np.clip(out, 0.0, 1.0).astype(np.float32)
    if generator.random() < 0.25:
        out = _jpeg(out, quality=int(generator.integers(35, 92)))
    return out


def _jpeg(picture: FloatArray, *, quality: int) -> FloatArray:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return np.asarray(image, np.float32) / 255.0


def put_in_body(picture: FloatArray, inside: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Set a shrunken lung crop into an elliptical body with fat, table and air: a full field of view."""
    size = picture.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    found = np.argwhere(inside > 0.5)
    if not len(found):
        return picture
    low, high = found.min(0), found.max(0)
    centre, half = (low + high) / 2, (high - low) / 2 + 1
    grow = generator.uniform(1.05, 1.4, 2)
    distance = ((rows - centre[0]) / (half[0] * grow[0])) ** 4 + (
        (columns - centre[1]) / (half[1] * grow[1])
    ) ** 4
    wall = generator.uniform(0.05, 0.3)
    canvas = np.full_like(picture, unit(generator.uniform(-1100, -980)))
    canvas[distance < 1 + wall] = unit(generator.uniform(-130, -80))
    canvas[distance < 1] = unit(generator.uniform(10, 70))
    texture = ndimage.gaussian_filter(generator.normal(0, 1, picture.shape).astype(np.float32), 1.0)
    canvas = canvas + texture * np.float32(0.03)
    if generator.random() < 0.6:  # the patient table: a bright arc below
        level = centre[0] + half[0] * grow[0] * (1 + wall) ** 0.25 + generator.uniform(2, 12)
        arc = np.abs(rows - level + ((columns - centre[1]) / size) ** 2 * generator.uniform(0, 120))
        canvas[arc < generator.uniform(0.7, 2.5)] = unit(generator.uniform(-700, -100))
    filled: FloatArray = np.clip(picture + (1 - inside) * canvas, 0.0, 1.0).astype(np.float32)
    return filled
