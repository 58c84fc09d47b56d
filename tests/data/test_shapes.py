import math

import numpy as np
import pytest

from zoo.data import shapes

PROPORTIONS = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.3, 0.8)]


def value(shape, points, u, v):
    return shape(*np.asarray(points, np.float32), np.float32(u), np.float32(v))


def volume(name, u, v):
    """Textbook volumes of the proportions that the docstrings state."""
    r = 0.28 + 0.12 * u
    return {
        "sphere": 4 / 3 * math.pi * (0.6 + 0.25 * u) ** 3,
        "ellipsoid": 4 / 3 * math.pi * (0.55 + 0.15 * u) * (0.3 + 0.15 * v),
        "box": 8 * 0.55 * (0.45 + 0.2 * u) * (0.35 + 0.15 * v),
        "cylinder": math.pi * (0.4 + 0.2 * u) ** 2 * 2 * (0.45 + 0.3 * v),
        "cone": math.pi * (0.55 + 0.2 * u) ** 2 * (1.2 + 0.25 * v) / 3,
        "torus": 2 * math.pi**2 * (0.6 + 0.1 * u) * (0.18 + 0.1 * v) ** 2,
        "pyramid": (2 * (0.5 + 0.1 * u)) ** 2 * (1.2 + 0.25 * v) / 3,
        "capsule": 4 / 3 * math.pi * r**3 + math.pi * r**2 * 2 * (0.9 + 0.1 * v - r),
        "octahedron": 4 / 3 * (0.75 + 0.1 * u) ** 2 * (0.85 + 0.15 * v),
        "prism": 3 * math.sqrt(3) * (0.3 + 0.1 * u) ** 2 * 2 * (0.45 + 0.13 * v),
    }[name]


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.__name__)
def test_volumes(shape):
    points = np.random.default_rng(0).uniform(-1, 1, (3, 200_000))
    for u, v in PROPORTIONS:
        share = (value(shape, points, u, v) < 0).mean()
        assert share * 8 == pytest.approx(volume(shape.__name__, u, v), abs=0.04)  # 4.5 standard errors at most


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.__name__)
def test_never_more_than_the_distance(shape):
    # A function that is zero on a surface and rises by at most 1 per unit of way is at most the distance to it.
    random = np.random.default_rng(1)
    start, way = random.uniform(-1.5, 1.5, (3, 20_000)), random.normal(size=(3, 20_000)) * 0.1
    for u, v in PROPORTIONS:
        change = value(shape, start + way, u, v) - value(shape, start, u, v)
        assert (np.abs(change) <= np.linalg.norm(way, axis=0) * 1.0001 + 1e-6).all()


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.__name__)
def test_within_the_unit_ball(shape):
    way = np.random.default_rng(2).normal(size=(3, 50_000))
    for u, v in PROPORTIONS:
        assert value(shape, 1.0001 * way / np.linalg.norm(way, axis=0), u, v).min() > 0
