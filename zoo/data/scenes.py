"""The TFDS dataset `scenes`: rendered scenes of one solid, as color, depth, normals and segmentation of every pixel.

It stands in for RGB-D data such as NYU-v2, on which contrastive multiview coding was evaluated (Tian et al., 2020,
https://arxiv.org/abs/1906.05849). It needs no download: the scenes are rendered on first use, in under a minute.
"""

import math
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from zoo import seeds
from zoo.data import raycast, shapes

SIDE = 48
# Key of all draws, largest number of draws of a scene, number of scenes that are rendered at once.
_KEY, _NUMBERS, _CHUNK = 20, 96, 50


def layout(indices: Any) -> raycast.Layout:
    """Returns the contents of scenes, each a pure function of the number of the scene.

    The class is the number modulo the number of classes. Everything else has the same distribution for every class, so
    that color, light, size and place say nothing about the class.

    Args:
        indices: numbers of S scenes, integers `[S]` in [0, 2**32).
    """
    indices = np.asarray(indices, np.uint32)
    take = _Uniforms(indices)
    scale = take.between(0.75, 1.0)
    center = np.stack([0 * scale, scale * take.between(1.0, 1.15), 0 * scale])
    target = center + take.between(-0.1, 0.1, 3)
    bearing = take.between(-0.5, 0.5)
    facing = np.stack([np.sin(bearing), 0 * bearing, -np.cos(bearing)])
    light = np.stack([take.between(-1, 1), take.between(0.6, 1.4), take.between(-1.2, -0.2)])
    return raycast.Layout(
        label=(indices % len(shapes.SHAPES)).astype(np.int64),
        proportions=take.between(0, 1, 2),
        scale=scale,
        center=center,
        rotation=_rotation(take),
        target=target,
        elevation=take.between(math.radians(8), math.radians(35)),
        distance=take.between(3.4, 4.2),
        wall=np.concatenate([facing, facing[2:] * take.between(1.3, 2.6)]),
        distractors=np.stack([_distractor(take, scale) for _ in range(2)]),
        light=light / np.sqrt(raycast.dot(light, light)),
        ambient=take.between(0.3, 0.5),
        colors=_colors(take),
        textures=np.concatenate([take.below(4, 3), np.zeros((2, len(indices)), np.int64)]),
        grain=np.stack([_rotation(take) * 2 * np.float32(math.pi) / take.between(0.5, 1.5) for _ in range(5)], axis=2),
    )


def _distractor(take, scale):
    """A small sphere on the ground beside the solid; its radius is 0 if there is none."""
    radius = take.between(0.12, 0.3)
    away = (scale + radius) * take.between(1.05, 1.6)
    bearing = take.between(-math.pi, math.pi)
    present = take.between(0, 1) < 0.5
    return np.stack([away * np.sin(bearing), radius, away * np.cos(bearing), radius * present])


def _colors(take):
    """Two colors per surface, of any hue; those of the solid are lighter than those of the wall and the ground."""
    ranges = ((0.05, 0.6), (0.05, 0.6), (0.45, 1), (0.05, 1), (0.05, 1))
    first, second = np.stack([take.between(*bounds, 6).reshape(2, 3, -1) for bounds in ranges], axis=2)
    # At full contrast the texture would dominate the image.
    return np.stack([first, first + np.float32(0.4) * (second - first)])


def _rotation(take):
    """Uniform over all rotations (Shoemake, 1992, "Uniform random rotations"), `[3, 3, S]`."""
    first, *angles = take.between(0, 1, 3)
    alpha, beta = (np.float32(2 * math.pi) * angle for angle in angles)
    short, long = np.sqrt(1 - first), np.sqrt(first)
    x, y, z, w = short * np.sin(alpha), short * np.cos(alpha), long * np.sin(beta), long * np.cos(beta)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row) for row in rows])


class _Uniforms:
    """A stream of numbers in [0, 1) that depend on the number of the scene alone.

    Args:
        indices: numbers of the scenes, np.uint32 `[S]`.
    """

    def __init__(self, indices):
        words, _ = seeds.threefry(
            (np.full_like(indices, _KEY), indices), (np.arange(_NUMBERS, dtype=np.uint32)[:, None], np.uint32(0)), np
        )
        self._numbers = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
        self._used = 0

    def between(self, low, high, count=None):
        """Returns the next numbers, uniform in [low, high): float32 `[S]`, or `[count, S]`."""
        start, self._used = self._used, self._used + (count or 1)
        taken = self._numbers[start : self._used]
        return np.float32(low) + np.float32(high - low) * (taken[0] if count is None else taken)

    def below(self, limit, count):
        """Returns uniform integers in [0, limit), int64 `[count, S]`."""
        return self.between(0, limit, count).astype(np.int64)


class Scenes(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `scenes`: 12,000 to train, 3,000 to test; ten shapes, all equally frequent."""

    VERSION = tfds.core.Version("1.0.0")
    COUNTS = {"train": 12_000, "test": 3_000}

    def _info(self):
        def picture(channels):
            return tfds.features.Image(shape=(SIDE, SIDE, channels), encoding_format="png")

        features = {
            "image": picture(3),
            "depth": picture(1),
            "normals": picture(3),
            "segmentation": picture(1),
            "label": tfds.features.ClassLabel(names=[shape.__name__ for shape in shapes.SHAPES]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            license="Apache-2.0. Rendered by the zoo, without material of third parties.",
        )

    def _split_generators(self, dl_manager):
        starts = np.cumsum([0, *self.COUNTS.values()])
        return {
            name: self._generate_examples(int(start), int(start) + count)
            for (name, count), start in zip(self.COUNTS.items(), starts[:-1], strict=True)
        }

    def _generate_examples(self, start, stop):
        for first in range(start, stop, _CHUNK):
            numbers = np.arange(first, min(first + _CHUNK, stop))
            chosen = layout(numbers)
            pictures = raycast.rendered(chosen, SIDE)
            for row, number in enumerate(numbers.tolist()):
                parts = {name: values[row] for name, values in pictures.items()}
                yield number, parts | {"label": int(chosen.label[row])}
