"""Scenes of one solid, small spheres, a ground and a wall, drawn by casting one ray through every pixel.

Arrays have the components first and the scenes after them: `[3, S]` is a point per scene, `[3, S, P]` a point per
pixel. The y axis of the world points up, and the ground is y = 0. All computations are elementwise, so that the images
of a scene do not depend on the scenes that are drawn with it.
"""

import dataclasses

import numpy as np

from zoo.data import shapes

# Class of a pixel.
BACKGROUND, GROUND, OBJECT, DISTRACTOR = range(4)
# Depths, in front of the camera, that become 0 and 255.
NEAR, FAR = 2.0, 8.5
# Half the width of what the camera sees at distance 1.
TANGENT = 0.3
_STEPS, _CLOSE = 64, 5e-4


@dataclasses.dataclass(frozen=True)
class Layout:
    """The contents of S scenes; float32 except for `label` and `textures`.

    Args:
        label: class of the solid, a position in `shapes.SHAPES`, int64 `[S]`.
        proportions: proportions of the solid, `[2, S]` in [0, 1).
        scale: radius of the ball that holds the solid, `[S]`.
        center: center of that ball, `[3, S]`.
        rotation: rotation from the axes of the solid to those of the world, `[3, 3, S]`.
        target: point in the middle of the picture, `[3, S]`.
        elevation: elevation of the camera above the horizon, radians `[S]`.
        distance: distance from the camera to the target, `[S]`.
        wall: unit normal towards the camera, and offset: the wall is where `normal . p = offset`, `[4, S]`.
        distractors: centers and radii of two small spheres, `[2, 4, S]`; a sphere of radius 0 is absent.
        light: unit vector towards the light, `[3, S]`.
        ambient: share of the light that comes from all directions, `[S]` in [0, 1].
        colors: two colors per surface (wall, ground, solid, both spheres), RGB in [0, 1], `[2, 3, 5, S]`.
        textures: texture of each surface: 0 plain, 1 stripes, 2 checks, 3 clouds, int64 `[5, S]`.
        grain: map from positions to coordinates of the texture, a rotation times a frequency in radians,
            `[3, 3, 5, S]`.
    """

    label: np.ndarray
    proportions: np.ndarray
    scale: np.ndarray
    center: np.ndarray
    rotation: np.ndarray
    target: np.ndarray
    elevation: np.ndarray
    distance: np.ndarray
    wall: np.ndarray
    distractors: np.ndarray
    light: np.ndarray
    ambient: np.ndarray
    colors: np.ndarray
    textures: np.ndarray
    grain: np.ndarray


def rendered(layout: Layout, side: int) -> dict[str, np.ndarray]:
    """Renders scenes.

    The camera looks along +z, tilted down by its elevation. In camera axes, x points to the right, y up, and z towards
    the camera.

    Args:
        layout: a `Layout` of S scenes.
        side: height and width in pixels.

    Returns:
        Dict of uint8 arrays: `image` `[S, side, side, 3]`, RGB by ambient light and Lambert's law with hard shadows;
        `depth` `[S, side, side, 1]`, the distance along the viewing direction, 0 at `NEAR` and 255 at `FAR`; `normals`
        `[S, side, side, 3]` in camera axes, where 0 is -1 and 255 is 1; `segmentation` `[S, side, side, 1]`, 0 wall,
        1 ground, 2 the solid, 3 small spheres.
    """
    eye, rays, axes = _camera(layout, side)
    depth, surface, normals = _first_hit(layout, eye, rays)
    points = eye + depth * rays
    # Shadow rays start above the surface; otherwise, rounding would let the surface shade itself.
    lifted = points + np.float32(4e-3) * normals
    light = layout.light[:, :, None]
    facing = np.maximum(dot(normals, light), 0)
    facing *= ~_blocked(layout, lifted, light)
    ambient = layout.ambient[:, None]
    image = _albedo(layout, points, surface) * (ambient + (1 - ambient) * facing)
    seen = np.stack([dot(axis[..., None], normals) for axis in axes])
    kinds = np.minimum(surface, DISTRACTOR)
    levels = {
        "image": image * 255,
        "depth": (depth[None] - NEAR) * (255 / (FAR - NEAR)),
        "normals": seen * 127.5 + 127.5,
        "segmentation": kinds[None],
    }
    return {name: _pixels(value, side) for name, value in levels.items()}


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the inner product over the first axis, which has length 3."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _pixels(values, side):
    """`[C, S, P]` as uint8 `[S, side, side, C]`."""
    values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0)).reshape(values.shape[1], side, side, len(values))


def _camera(layout, side):
    """The eye `[3, S, 1]`, a ray per pixel `[3, S, P]` (1 along the viewing direction), the axes `[3, 3, S]`."""
    sine, cosine = np.sin(layout.elevation), np.cos(layout.elevation)
    zeros, ones = np.zeros_like(sine), np.ones_like(sine)
    forward = np.stack([zeros, -sine, cosine])
    right, up = np.stack([ones, zeros, zeros]), np.stack([zeros, cosine, sine])
    steps = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1) * np.float32(TANGENT)
    across, down = np.tile(steps, side), np.repeat(steps, side)
    rays = forward[..., None] + right[..., None] * across - up[..., None] * down
    eye = layout.target - layout.distance * forward
    return eye[..., None], rays, np.stack([right, up, -forward])


def _first_hit(layout, eye, rays):
    """The first hit of every ray: its parameter `[S, P]`, the surface int64 `[S, P]`, the unit normal `[3, S, P]`."""
    wall = layout.wall[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        to_wall = (wall[3] - dot(wall, eye)) / dot(wall, rays)
        to_ground = -eye[1] / rays[1]
    to_ground = np.where(to_ground > 0, to_ground, np.float32(np.inf))
    depth = np.minimum(to_wall, to_ground)
    on_ground = to_ground < to_wall
    surface = np.where(on_ground, GROUND, BACKGROUND)
    up = np.array([0, 1, 0], np.float32)[:, None, None]
    normals = np.where(on_ground, up, wall[:3])

    for number, ball in enumerate(layout.distractors[..., None]):
        reached, _ = _ball(eye - ball[:3], rays, ball[3])
        nearer = reached < depth
        depth = np.where(nearer, reached, depth)
        surface[nearer] = DISTRACTOR + number
        outward = (eye + depth * rays - ball[:3]) / np.maximum(ball[3], np.float32(1e-6))
        normals = np.where(nearer, outward, normals)

    for reached, turned, scenes, pixels in _solids(layout, eye, rays, with_normals=True):
        nearer = reached < depth[scenes, pixels]
        scenes, pixels = scenes[nearer], pixels[nearer]
        depth[scenes, pixels] = reached[nearer]
        surface[scenes, pixels] = OBJECT
        normals[:, scenes, pixels] = turned[:, nearer]
    return depth, surface, normals


def _ball(origin, rays, radius):
    """Where rays enter and leave a ball around 0; inf for rays that miss it or have it behind them."""
    a, b, c = dot(rays, rays), dot(origin, rays), dot(origin, origin) - radius * radius
    inside = b * b - a * c
    root = np.sqrt(np.maximum(inside, 0))
    hit = (inside > 0) & (root > b)
    inf = np.float32(np.inf)
    return np.where(hit, (-b - root) / a, inf), np.where(hit, (-b + root) / a, inf)


def _blocked(layout, points, light):
    """Returns whether something lies between a point and the light, bool `[S, P]`."""
    blocked = np.zeros(points.shape[1:], bool)
    for ball in layout.distractors[..., None]:
        entered, left = _ball(points - ball[:3], light, ball[3])
        blocked |= (entered > 0) & np.isfinite(left)
    for _, _, scenes, pixels in _solids(layout, points, light, with_normals=False):
        blocked[scenes, pixels] = True
    return blocked


def _solids(layout, origin, rays, with_normals):
    """Yields the rays that hit the solid, by shape: parameters `[n]`, normals `[3, n]`, scenes and pixels `[n]`."""
    for kind in np.unique(layout.label):
        chosen = np.flatnonzero(layout.label == kind)
        turn = layout.rotation[:, :, chosen, None]
        scale = layout.scale[chosen, None]
        # Coordinates in which the solid lies within the unit ball, along its axes; parameters of rays stay the same.
        start = origin[:, chosen] - layout.center[:, chosen, None]
        start = np.stack([dot(turn[:, axis], start) for axis in range(3)]) / scale
        along = np.stack([dot(turn[:, axis], rays[:, chosen]) for axis in range(3)]) / scale
        enter, leave = _ball(start, along, np.float32(1))
        scenes, pixels = np.nonzero(np.isfinite(leave))
        start, along = (np.broadcast_to(part, (3, *enter.shape))[:, scenes, pixels] for part in (start, along))
        proportions = layout.proportions[:, chosen[scenes]]
        bound = shapes.SHAPES[kind]
        reached = _marched(
            bound, start, along, proportions, np.maximum(enter[scenes, pixels], 0), leave[scenes, pixels]
        )
        hit = np.isfinite(reached)
        reached, scenes, pixels = reached[hit], scenes[hit], pixels[hit]
        normals = None
        if with_normals:
            slope = _slope(bound, start[:, hit] + reached * along[:, hit], proportions[:, hit])
            turn = turn[:, :, scenes, 0]
            normals = np.stack([dot(turn[axis], slope) for axis in range(3)])
        yield reached, normals, chosen[scenes], pixels


def _marched(bound, start, along, proportions, near, far):
    """The parameters `[n]` at which rays first touch a solid, between `near` and `far`; inf for rays that miss it."""
    found = np.full(near.shape, np.inf, np.float32)
    rows = np.arange(len(near))
    rate = 1 / np.sqrt(dot(along, along))
    reached = near
    for step in range(_STEPS):
        x, y, z = start + reached * along
        apart = bound(x, y, z, *proportions)
        reached = reached + apart * rate
        # Finished rays are dropped every few steps only, because copying the others costs as much as a step.
        if step % 4 == 3 or step == _STEPS - 1:
            touched = apart < _CLOSE
            found[rows[touched]] = reached[touched]
            left = ~touched & (reached < far)
            rows, reached, far, rate = rows[left], reached[left], far[left], rate[left]
            start, along, proportions = start[:, left], along[:, left], proportions[:, left]
    return found


def _slope(bound, points, proportions):
    """The unit gradient of a bound, `[3, n]`, from finite differences over the corners of a tetrahedron."""
    gradient = np.zeros_like(points)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        corner = np.array(corner, np.float32)[:, None]
        x, y, z = points + np.float32(1e-3) * corner
        gradient += corner * bound(x, y, z, *proportions)
    return gradient / np.maximum(np.sqrt(dot(gradient, gradient)), np.float32(1e-12))


def _albedo(layout, points, surface):
    """The share of the light that points `[3, S, P]` of surfaces `[S, P]` reflect: RGB `[3, S, P]`."""
    # The texture of the solid moves with it.
    scenes = np.arange(len(layout.label))[:, None]
    grain = layout.grain[:, :, surface, scenes]
    centered = points - np.where(surface == OBJECT, layout.center[..., None], 0)
    p, q, r = (np.sin(dot(grain[axis], centered)) for axis in range(3))
    kind = layout.textures[surface, scenes]
    clouds = 0.5 + 0.25 * (np.sin(2 * p + 3 * q) + np.sin(2 * q - 3 * r + 1))
    blend = np.select([kind == 1, kind == 2, kind == 3], [p > 0, p * q > 0, clouds], 0).astype(np.float32)
    first, second = (color[:, surface, scenes] for color in layout.colors)
    return first + (second - first) * blend
