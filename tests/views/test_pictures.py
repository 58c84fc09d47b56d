import numpy as np
import pytest
from keras import ops

from zoo import seeds
from zoo.tools import views as program
from zoo.train import logs
from zoo.views import frequency, geometry, jigsaw, modality, patches, pictures, spaces, view


def some(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def test_what_can_be_shown_is_shown_as_it_is():
    for channels in (1, 3):
        views = some(2, 4, 5, channels)
        np.testing.assert_array_equal(pictures.displayable(views), views)


def test_values_beyond_the_range_are_scaled_for_all_images_alike():
    signed = some(3, 4, 4, 3) * np.array([1, -0.5, 0.1], "float32")
    np.testing.assert_allclose(pictures.displayable(signed), 0.5 + signed / (2 * np.abs(signed).max()), atol=1e-6)
    large = 255 * some(3, 4, 4, 1)
    np.testing.assert_allclose(pictures.displayable(large), large / large.max(), atol=1e-6)
    np.testing.assert_array_equal(pictures.displayable(np.zeros((1, 2, 2, 1))), 0)


@pytest.mark.parametrize("channels", [2, 7])
def test_other_channels_stand_side_by_side(channels):
    views = some(2, 4, 5, channels)
    shown = pictures.displayable(views)
    assert shown.shape == (2, 4, 6 * channels - 1, 1)
    for i in range(channels):
        np.testing.assert_array_equal(shown[:, :, 6 * i : 6 * i + 5, 0], views[..., i])


def test_patches_lie_on_a_grid():
    views = some(2, 9, 4, 4, 3)
    shown = pictures.displayable(views)
    assert shown.shape == (2, 14, 14, 3)
    for i in range(9):
        top, left = 5 * (i // 3), 5 * (i % 3)
        np.testing.assert_array_equal(shown[:, top : top + 4, left : left + 4], views[:, i])
    assert pictures.displayable(some(2, 5, 4, 4, 2)).shape == (2, 9, 29, 1)


def test_a_sheet_holds_views_of_all_sizes_and_channels():
    color, gray, small = some(2, 6, 4, 3), some(2, 6, 5, 1, seed=1), some(2, 3, 3, 3, seed=2)
    sheet = pictures.sheet((color, gray, small))
    assert sheet.shape == (12, 12, 3)
    np.testing.assert_array_equal(sheet[6:, :4], color[1])
    np.testing.assert_array_equal(sheet[:6, 4:9], np.repeat(gray[0], 3, axis=-1))
    np.testing.assert_array_equal(sheet[6:9, 9:], small[1])
    assert pictures.sheet((gray, gray)).shape == (12, 10, 1)


FORK = view.Fork((spaces.Channels("lab", (1, 2)), modality.Modality("depth")))
EVERY = view.Views(
    (
        view.Chain((geometry.Crop(8), geometry.Flip(), FORK)),
        patches.Pair(4, 3),
        frequency.HighPass(),
        view.Chain((geometry.Crop(9), jigsaw.Jigsaw(3, 2))),
    )
)


def maps():
    return {"image": some(2, 12, 12, 3), "depth": some(2, 12, 12, 1, seed=1)}


def test_tensorboard_takes_views_of_every_kind(tmp_path):
    images = maps()
    views = [ops.convert_to_numpy(made) for made in EVERY(images, seeds.Seed(0).fold(np.arange(2)))]
    log = logs.Logs(tmp_path, 0)
    log.views(3, (images["image"], *views))
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"views" in events.read_bytes() and b"PNG" in events.read_bytes()


def test_the_contact_sheet_takes_views_of_every_kind():
    canvas = program.sheet(EVERY, maps(), np.arange(2), epoch=0, seed=0)
    axes = np.array(canvas.axes).reshape(2, 7)
    texts = [axis.get_xlabel().splitlines() for axis in axes[0]]
    crop, *_, depth = texts[2]
    assert crop == texts[1][0] and crop.startswith("Crop ") and depth.startswith("Modality(name='depth'")
    assert texts[1][-1] == "Channels(space='lab', channels=(1, 2))" and texts[5][-1] == "HighPass(sigma=0.7)"
    (top, left), (lower, right) = ([int(n) for n in text[0].removeprefix("Pair ").split(",")] for text in texts[3:5])
    assert (lower, right) == (top + 3, left + 3)
    assert sorted(texts[6][-1].split()[1:]) == [str(i) for i in range(9)]
    # The boxes of a crop that was forked, of both patches, of the puzzle's crop: none for what shows all of the image.
    boxes = [patch.get_bbox().bounds for patch in axes[0, 0].patches]
    assert len(boxes) == 5 and boxes[0] == boxes[1] and boxes[2] == (left - 0.5, top - 0.5, 4, 4)
    assert [axis.images[0].get_array().shape for axis in axes[1]] == [
        *((12, 12, 3), (8, 17), (8, 8)),
        *((4, 4, 3), (4, 4, 3), (12, 12, 3), (8, 8, 3)),
    ]


def test_the_folder_of_a_sheet_is_checked_before_it_is_drawn(tmp_path):
    assert program.place(str(tmp_path / "sheet")) == tmp_path / "sheet.png"
    assert program.place(str(tmp_path / "sheet.svg")) == tmp_path / "sheet.svg"
    with pytest.raises(ValueError, match="--out: expected a file in a folder that exists. Received: out='.*where.svg'"):
        program.place(str(tmp_path / "no" / "where.svg"))
