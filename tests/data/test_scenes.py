import numpy as np
import pytest
import tensorflow_datasets as tfds

from zoo.data import builders, raycast, scenes, shapes, sources

COUNTS = {"train": 40, "test": 20}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Where a small version of the dataset is prepared on first use."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes.Scenes, "COUNTS", COUNTS)
        sources.load("scenes", data_dir=folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def test_a_scene_is_a_function_of_its_number():
    whole, part = scenes.layout(np.arange(100)), scenes.layout([93, 7])
    for name, values in vars(part).items():
        np.testing.assert_array_equal(values, getattr(whole, name)[..., [93, 7]], err_msg=name)
    assert not np.array_equal(part.colors[..., 0], part.colors[..., 1])


def test_what_there_is_to_see():
    layout = scenes.layout(np.arange(2000))
    np.testing.assert_array_equal(np.bincount(layout.label), [200] * len(shapes.SHAPES))
    turn = layout.rotation.transpose(2, 0, 1)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (2000, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)
    np.testing.assert_allclose((layout.light**2).sum(0), 1, atol=1e-5)
    normal, offset = layout.wall[:3], layout.wall[3]
    np.testing.assert_allclose((normal**2).sum(0), 1, atol=1e-5)
    # The solid's ball lies over the ground, before the wall, and touches no small sphere.
    assert (layout.center[1] >= layout.scale).all()
    assert ((normal * layout.center).sum(0) - offset > layout.scale).all()
    apart = np.sqrt(((layout.distractors[:, :3] - layout.center) ** 2).sum(1))
    assert (apart > layout.distractors[:, 3] + layout.scale).all()
    share = (layout.distractors[:, 3] > 0).mean()
    assert 0.45 < share < 0.55


def test_rotations_are_uniform():
    turn = scenes.layout(np.arange(20_000)).rotation
    # Every entry of a uniform rotation is uniform in [-1, 1]: mean 0, mean square 1/3, mean fourth power 1/5.
    for power, expected in ((1, 0), (2, 1 / 3), (4, 1 / 5)):
        np.testing.assert_allclose((turn.astype(np.float64) ** power).mean(-1), expected, atol=0.02)


def test_nothing_but_the_shape_tells_the_class():
    layout = scenes.layout(np.arange(20_000))
    for name in ("proportions", "scale", "center", "rotation", "target", "distance", "light", "ambient", "colors"):
        values = getattr(layout, name).reshape(-1, 20_000).astype(np.float64)
        whole, spread = values.mean(1), values.std(1) / np.sqrt(2000)
        for label in range(10):
            away = np.abs(values[:, layout.label == label].mean(1) - whole)
            assert (away <= 5 * spread + 1e-6).all(), name


def test_every_solid_is_in_the_picture():
    pictures = raycast.rendered(scenes.layout(np.arange(200)), 24)
    kinds = pictures["segmentation"].reshape(200, -1)
    assert ((kinds == 2).mean(1) > 0.02).all() and ((kinds == 2).mean(1) < 0.7).all()
    assert pictures["depth"].max() < 255 and (pictures["depth"] == 0).mean() < 1e-3


def test_what_is_prepared_is_what_is_rendered(data_dir):
    layouts = {"train": scenes.layout(np.arange(40)), "test": scenes.layout(np.arange(40, 60))}
    for split, layout in layouts.items():
        rows = {}
        for example in tfds.load("scenes", split=split, data_dir=data_dir, download=False).as_numpy_iterator():
            rows[example["image"].tobytes()] = example
        pictures = raycast.rendered(layout, scenes.SIDE)
        assert len(rows) == COUNTS[split]
        for number in range(COUNTS[split]):
            example = rows[pictures["image"][number].tobytes()]
            assert example["label"] == layout.label[number]
            for name, values in pictures.items():
                np.testing.assert_array_equal(example[name], values[number])


def test_as_a_source(data_dir):
    source = sources.load("scenes", "test", data_dir=data_dir)
    assert source.image_shape == (48, 48, 3)
    np.testing.assert_array_equal(np.bincount(source.labels), [2] * 10)
    assert source.classes[:3] == ["sphere", "ellipsoid", "box"]


def test_did_you_mean(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'scenes'"):
        builders.found("scens", tmp_path)
