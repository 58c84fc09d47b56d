"""Views per second of SimCLR's recipe: crop, mirror image, colors, gray, blur (`gin/views/simclr.gin`).

At 32² the images have 32², at 224² they have 256². Costs are CPU time, and all have one core.
Draws differ; the views' mean, contrast within an image and difference between channels must agree.
"""

import numpy as np

from zoo.tools.benches import runner
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.views"
STRENGTH = 1.0
RUNS = 8  # whose statistics are averaged


def side(size):
    """Returns the side of the images from which views of a size are made."""
    return 256 if size == 224 else size


def statistics(views):
    """Mean, contrast and colorfulness of views, an array `[n, H, W, 3]` in [0, 1]."""
    return [views.mean(), views.std(axis=(1, 2)).mean(), views.std(axis=3).mean()]


def averaged(run):
    """Means of the statistics of what several runs return, as the draws of one are too few to compare."""
    return np.mean([statistics(np.concatenate(run())) for _ in range(RUNS)], axis=0)


def _on_one_core(tf):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def ours(size, batch, compiled):
    """As the loop runs them, in the graph of its step; `compiled` as in long runs. On one core, as the peers."""
    import tensorflow as tf

    from zoo.tools import config
    from zoo.train import step

    _on_one_core(tf)
    config.parse(["views/simclr.gin"], [f"geometry.Crop.size = {size}"])
    one = step.Step(None, config.binding("views"), None, 0, 1000)
    one.compiles_views = compiled
    make = tf.function(one.views_of_step, autograph=False)
    data = {"image": tf.constant(inputs.images(batch, side(size))), "id": tf.range(batch)}
    now = iter(range(10**9))

    def run():
        views = make(data, tf.constant(1000 * next(now), tf.int64))
        return [view.numpy() for view in views]

    return run, lambda _: averaged(run)


def tf_image(size, batch):
    """SimCLR's recipe from `tf.image`, image by image in `tf.data`, two views each."""
    import tensorflow as tf

    _on_one_core(tf)

    def crop(image):
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.clip_by_value(tf.image.resize(tf.slice(image, begin, extent), [size, size], "bicubic"), 0, 1)

    def changed(image, number):
        if number == 0:
            image = image * tf.random.uniform([], 1 - 0.8 * STRENGTH, 1 + 0.8 * STRENGTH)
        elif number == 1:
            image = tf.image.random_contrast(image, 1 - 0.8 * STRENGTH, 1 + 0.8 * STRENGTH)
        elif number == 2:
            image = tf.image.random_saturation(image, 1 - 0.8 * STRENGTH, 1 + 0.8 * STRENGTH)
        else:
            image = tf.image.random_hue(image, 0.2 * STRENGTH)
        return tf.clip_by_value(image, 0, 1)

    def jittered(image):
        order = tf.random.shuffle(tf.range(4))
        for place in range(4):
            image = tf.switch_case(order[place], [lambda n=n, image=image: changed(image, n) for n in range(4)])
        return image

    def blurred(image):
        radius = size // 20
        sigma = tf.random.uniform([], 0.1, 2.0)
        at = tf.cast(tf.range(-radius, radius + 1), tf.float32)
        weights = tf.exp(-(at**2) / (2 * sigma**2))
        kernel = tf.tile((weights / tf.reduce_sum(weights))[:, None, None, None], [1, 1, 3, 1])
        image = tf.nn.depthwise_conv2d(image[None], kernel, [1, 1, 1, 1], "SAME")
        return tf.nn.depthwise_conv2d(image, tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], "SAME")[0]

    def sometimes(probability, change, image):
        return tf.cond(tf.random.uniform([]) < probability, lambda: change(image), lambda: image)

    def view(image):
        image = tf.image.random_flip_left_right(crop(image))
        image = sometimes(0.8, jittered, image)
        image = sometimes(0.2, lambda x: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(x)), image)
        return tf.ensure_shape(sometimes(0.5, blurred, image), [size, size, 3])

    def both(image):
        image = tf.image.convert_image_dtype(image, tf.float32)
        return view(image), view(image)

    data = tf.data.Dataset.from_tensor_slices(inputs.images(batch, side(size)))
    data = data.map(both, num_parallel_calls=tf.data.AUTOTUNE).batch(batch)

    # One pass over the data: nothing is made ahead, before a round begins.
    def run():
        return [view.numpy() for views in data for view in views]

    return run, lambda _: averaged(run)


def _group(size, batch, target, rounds):
    given = {"size": size, "batch": batch}
    candidates = (
        runner.Candidate("zoo, in a short run", _SOURCE, "ours", {**given, "compiled": False}),
        runner.Candidate("zoo, compiled as in long runs", _SOURCE, "ours", {**given, "compiled": True}),
        runner.Candidate("torchvision v1, PIL", "torchvision_views.py", "pil", {**given, "side": side(size)},
                         place="torch"),
        runner.Candidate("torchvision v2, tensors", "torchvision_views.py", "tensors", {**given, "side": side(size)},
                         place="torch"),
        runner.Candidate("tf.image", _SOURCE, "tf_image", given),
    )  # fmt: skip
    first, compiled, pil, tensors, tf_recipe = (candidate.name for candidate in candidates)
    return runner.Group(
        work=f"SimCLR's views of {batch} images at {size}²",
        candidates=candidates,
        pairs=(
            runner.Pair(compiled, pil, "CPU time", target),
            runner.Pair(compiled, tensors, "CPU time"),
            runner.Pair(compiled, tf_recipe, "CPU time"),
            runner.Pair(first, pil, "CPU time"),
        ),
        agree=0.1 if rounds == 1 else 0.04,
        count=2 * batch,
        moved=batch * side(size) ** 2 * 3 + 2 * batch * size**2 * 3 * 4,
        rounds=rounds,
    )


def groups(quick):
    """Returns the groups to measure; with `quick`, of a size for tests."""
    if quick:
        return [_group(24, 16, 10.0, 1)]
    return [_group(32, 512, 10.0, None), _group(224, 64, 4.0, None)]
