"""The views in NumPy, one image at a time and one pixel at a time, as the papers' code defines them."""

import colorsys
import math

import numpy as np

LUMA = (0.299, 0.587, 0.114)


def first_box(unit, height, width, area, aspect):
    """The random resized crop: (top, left, height, width) from 22 uniform numbers, as torchvision goes about it."""
    for attempt in range(10):
        target = height * width * (area[0] + (area[1] - area[0]) * unit[attempt])
        low, high = math.log(aspect[0]), math.log(aspect[1])
        ratio = math.exp(low + (high - low) * unit[10 + attempt])
        wide, tall = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return math.floor(unit[20] * (height - tall + 1)), math.floor(unit[21] * (width - wide + 1)), tall, wide
    wide, tall = width, height
    if width / height < aspect[0]:
        tall = round(width / aspect[0])
    elif width / height > aspect[1]:
        wide = round(height * aspect[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def kernel(distance, interpolation):
    """Weight of a pixel at a distance, in pixels."""
    x = abs(distance)
    if interpolation == "bilinear":
        return max(0.0, 1 - x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resized(image, height, width, interpolation, antialias):
    """An image [h, w, c] resized to [height, width, c]; pixels beyond the edge do not count."""

    def matrix(inputs, outputs):
        scale = inputs / outputs
        wider = max(scale, 1.0) if antialias else 1.0
        weights = np.zeros((outputs, inputs))
        for o in range(outputs):
            for i in range(inputs):
                weights[o, i] = kernel(((i + 0.5) - (o + 0.5) * scale) / wider, interpolation)
        return weights / weights.sum(axis=1, keepdims=True)

    rows, columns = matrix(image.shape[0], height), matrix(image.shape[1], width)
    return np.clip(np.einsum("pi,qj,ijc->pqc", rows, columns, image), 0, 1)


def luma(image):
    """ITU-R BT.601, [h, w, c] -> [h, w, 1]."""
    return image if image.shape[-1] == 1 else np.sum(image * np.array(LUMA), axis=-1, keepdims=True)


def in_hsv(image, change):
    """Every pixel through HSV and back."""
    if image.shape[-1] == 1:
        return image
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in image.reshape(-1, 3)]
    return np.array(pixels).reshape(image.shape)


def jittered(image, order, brightness, contrast, saturation, hue, recipe):
    """Color jitter of one image [h, w, c]: brightness 0, contrast 1, saturation 2, hue 3, in `order`."""
    for what in order:
        if what == 0:
            image = image + brightness if recipe == "simclr_v1" else image * brightness
        elif what == 1:
            mean = luma(image).mean() if recipe == "torchvision" else image.mean(axis=(0, 1))
            image = (image - mean) * contrast + mean
        elif what == 2 and recipe == "torchvision":
            image = saturation * image + (1 - saturation) * luma(image)
        elif what == 2:
            image = in_hsv(image, lambda h, s, v: (h, min(1.0, s * saturation), v))
        else:
            image = in_hsv(image, lambda h, s, v: ((h + hue) % 1, s, v))
        image = np.clip(image, 0, 1)
    return image


def blurred(image, sigma, radius, padding):
    """A Gaussian blur of one image [h, w, c], along one axis after the other."""
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    mode = {"zero": "constant", "reflect": "reflect"}[padding]
    for axis in (0, 1):
        pads = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded, size = np.pad(image, pads, mode=mode), image.shape[axis]
        image = sum(w * np.take(padded, range(t, t + size), axis=axis) for t, w in enumerate(taps))
    return image
