"""Solids in the unit ball, as bounds on the distance to them (Hart, 1996, "Sphere tracing", The Visual Computer 12).

Every solid is a function of points `(x, y, z)` and of two numbers `(u, v)` in [0, 1) that choose the proportions, all
float32 `[n]`. It returns float32 `[n]`: negative inside the solid, zero on the surface, and outside at most the
distance to the surface, which is how far a ray may safely advance. Functions are elementwise, so that the value of a
point does not depend on other points.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
# x, y, z, u, v -> bound on the distance.
Bound = Callable[[Array, Array, Array, Array, Array], Array]


def sphere(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A sphere of radius 0.6 to 0.85."""
    return np.sqrt(x * x + y * y + z * z) - (0.6 + 0.25 * u)


def ellipsoid(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """An ellipsoid with half axes 1, 0.55 to 0.7, and 0.3 to 0.45, no two of them alike."""
    b, c = 0.55 + 0.15 * u, 0.3 + 0.15 * v
    y, z = y / b, z / c
    # Distances in the stretched space are at most 1 / c times too long, c being the shortest half axis.
    return (np.sqrt(x * x + y * y + z * z) - 1) * c


def box(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A box with half sides 0.55, 0.45 to 0.65, and 0.35 to 0.5."""
    x, y, z = np.abs(x) - 0.55, np.abs(y) - (0.45 + 0.2 * u), np.abs(z) - (0.35 + 0.15 * v)
    return np.maximum(np.maximum(x, y), z)


def cylinder(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A cylinder along y, of radius 0.4 to 0.6 and half height 0.45 to 0.75."""
    return np.maximum(np.sqrt(x * x + z * z) - (0.4 + 0.2 * u), np.abs(y) - (0.45 + 0.3 * v))


def cone(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A cone with base radius 0.55 to 0.75 at y = -0.5 and tip at y = 0.7 to 0.95."""
    radius, height = 0.55 + 0.2 * u, 1.2 + 0.25 * v
    side = (height * np.sqrt(x * x + z * z) + radius * (y + 0.5 - height)) / np.sqrt(height * height + radius * radius)
    return np.maximum(side, -0.5 - y)


def torus(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A torus about y, of radii 0.6 to 0.7 and 0.18 to 0.28."""
    ring = np.sqrt(x * x + z * z) - (0.6 + 0.1 * u)
    return np.sqrt(ring * ring + y * y) - (0.18 + 0.1 * v)


def pyramid(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A pyramid with a square base of half side 0.5 to 0.6 at y = -0.5 and tip at y = 0.7 to 0.95."""
    half, height = 0.5 + 0.1 * u, 1.2 + 0.25 * v
    outermost = np.maximum(np.abs(x), np.abs(z))
    side = (height * outermost + half * (y + 0.5 - height)) / np.sqrt(height * height + half * half)
    return np.maximum(side, -0.5 - y)


def capsule(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A capsule along y, of radius 0.28 to 0.4 and half length 0.9 to 1."""
    radius = 0.28 + 0.12 * u
    half = 0.9 + 0.1 * v - radius
    y = y - np.clip(y, -half, half)
    return np.sqrt(x * x + y * y + z * z) - radius


def octahedron(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """An octahedron with half diagonals 0.85 to 1 along y and 0.75 to 0.85 across."""
    across, along = 0.75 + 0.1 * u, 0.85 + 0.15 * v
    a, b = 1 / across, 1 / along
    return ((np.abs(x) + np.abs(z)) * a + np.abs(y) * b - 1) / np.sqrt(2 * a * a + b * b)


def prism(x: Array, y: Array, z: Array, u: Array, v: Array) -> Array:
    """A prism along y with three equal sides, 0.3 to 0.4 from the axis, and half height 0.45 to 0.58."""
    slanted = 0.5 * math.sqrt(3) * np.abs(x) + 0.5 * z
    return np.maximum(np.maximum(slanted, -z) - (0.3 + 0.1 * u), np.abs(y) - (0.45 + 0.13 * v))


# In the order of the class numbers.
SHAPES: tuple[Bound, ...] = (sphere, ellipsoid, box, cylinder, cone, torus, pyramid, capsule, octahedron, prism)
