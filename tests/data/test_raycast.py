import dataclasses

import numpy as np
import pytest

from zoo.data import raycast, scenes, shapes

SIDE = 24
LEVEL = (raycast.FAR - raycast.NEAR) / 255


def camera(layout, scene):
    """Eye, rays `[P, 3]` of depth 1, and the camera's axes as rows, written out anew in float64."""
    tilt = float(layout.elevation[scene])
    forward = np.array([0, -np.sin(tilt), np.cos(tilt)])
    right, up = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    eye = layout.target[:, scene] - layout.distance[scene] * forward
    at = (2 * (np.arange(SIDE) + 0.5) / SIDE - 1) * raycast.TANGENT
    rays = [forward + x * right + y * up for y in -at for x in at]
    return eye, np.array(rays), np.stack([right, up, -forward])


@pytest.fixture(scope="module")
def drawn():
    layout = scenes.layout(np.arange(60))
    return layout, raycast.rendered(layout, SIDE)


def seen(drawn, scene):
    """World points that the depths stand for, and the normals in the world's axes, with what they show."""
    layout, pictures = drawn
    eye, rays, axes = camera(layout, scene)
    depth = pictures["depth"][scene].reshape(-1, 1) * LEVEL + raycast.NEAR
    normals = (pictures["normals"][scene].reshape(-1, 3) / 127.5 - 1) @ axes
    return eye + depth * rays, normals, pictures["segmentation"][scene].ravel()


def test_depths_lie_on_what_the_segmentation_says(drawn):
    layout, _ = drawn
    far = LEVEL / 2 * np.sqrt(1 + 2 * raycast.TANGENT**2) + 1e-3
    for scene in range(60):
        points, normals, kinds = seen(drawn, scene)
        ground, solid, wall = points[kinds == 1], points[kinds == 2], points[kinds == 0]
        assert np.abs(ground[:, 1]).max(initial=0) < far
        np.testing.assert_allclose(normals[kinds == 1], np.tile([0, 1, 0], (len(ground), 1)), atol=0.01)
        *normal, offset = layout.wall[:, scene]
        assert np.abs(wall @ normal - offset).max(initial=0) < far
        np.testing.assert_allclose(normals[kinds == 0], np.tile(normal, (len(wall), 1)), atol=0.01)
        own = layout.rotation[..., scene].T @ (solid - layout.center[:, scene]).T / layout.scale[scene]
        bound = shapes.SHAPES[layout.label[scene]](*own, *layout.proportions[:, scene])
        assert len(solid) and np.abs(bound).max() < far / layout.scale[scene]


def test_a_sphere_is_where_its_formula_says():
    layout = scenes.layout([40])
    layout = dataclasses.replace(layout, distractors=0 * layout.distractors)
    pictures = raycast.rendered(layout, SIDE)
    eye, rays, axes = camera(layout, 0)
    center, radius = layout.center[:, 0], layout.scale[0] * (0.6 + 0.25 * layout.proportions[0, 0])
    a, b, c = (rays**2).sum(1), rays @ (eye - center), ((eye - center) ** 2).sum() - radius**2
    inside = b**2 - a * c
    hit = inside > 0
    certain = np.abs(inside) > 1e-2  # the silhouette itself may go either way
    np.testing.assert_array_equal((pictures["segmentation"].ravel() == 2)[certain], hit[certain])
    hit &= certain
    depth = (-b[hit] - np.sqrt(inside[hit])) / a[hit]
    np.testing.assert_allclose(
        pictures["depth"].ravel()[hit] * LEVEL + raycast.NEAR, depth, atol=LEVEL / 2 + 2e-3, rtol=0
    )
    normals = (eye + depth[:, None] * rays[hit] - center) / radius @ axes.T
    np.testing.assert_allclose(pictures["normals"].reshape(-1, 3)[hit] / 127.5 - 1, normals, atol=0.02)


def test_light_from_above_casts_a_round_shadow():
    layout = scenes.layout([40, 50])
    ambient, colors = layout.ambient, layout.colors.copy()
    colors[1] = colors[0]
    layout = dataclasses.replace(
        layout,
        distractors=0 * layout.distractors,
        light=np.array([[0, 0], [1, 1], [0, 0]], np.float32),
        colors=colors,
    )
    pictures = raycast.rendered(layout, SIDE)
    for scene in range(2):
        points, _, kinds = seen((layout, pictures), scene)
        radius = layout.scale[scene] * (0.6 + 0.25 * layout.proportions[0, scene])
        away = np.hypot(points[:, 0], points[:, 2])
        image = pictures["image"][scene].reshape(-1, 3)
        for shaded, of in (
            ((kinds == 1) & (away < radius - 0.05), ambient[scene]),
            ((kinds == 1) & (away > radius + 0.05), 1),
        ):
            assert shaded.any()
            np.testing.assert_allclose(image[shaded] - 255 * of * colors[0, :, 1, scene], 0, atol=0.51)
        # On the solid itself Lambert's law: its upper half by the normal, its lower half by what comes from everywhere.
        _, normals, _ = seen((layout, pictures), scene)
        lit = ambient[scene] + (1 - ambient[scene]) * np.maximum(normals[kinds == 2, 1:2], 0)
        np.testing.assert_allclose(image[kinds == 2], 255 * lit * colors[0, :, 2, scene], atol=2)


def test_scenes_do_not_depend_on_their_neighbors(drawn):
    _, together = drawn
    for number in (0, 17, 59):
        alone = raycast.rendered(scenes.layout([number]), SIDE)
        for name, picture in alone.items():
            np.testing.assert_array_equal(picture[0], together[name][number])


def test_a_coarser_picture_shows_the_same(drawn):
    layout, pictures = drawn
    finer = raycast.rendered(layout, 3 * SIDE)
    # With three times the pixels, the middle one of every nine lies where the one pixel was.
    for name, picture in pictures.items():
        np.testing.assert_allclose(finer[name][:, 1::3, 1::3].astype(int), picture, atol=255 * (name == "image") or 2)
        same = (finer[name][:, 1::3, 1::3] == picture).mean()
        assert same > 0.99, name
