"""Draws a contact sheet of the views that a configuration makes, one image per row.

zoo-views --gin_file=views/simclr_small.gin --data=digits --out=sheet.png
zoo-views --gin_file=runs/cmc_4_scenes.gin --count=8 --epoch=3 --out=sheet.png

The first column shows the image and the box of every crop; the others show the views as training makes them in that
epoch, with the random draws below. Views that are neither gray nor RGB show their channels side by side, and patches on
a grid.
"""

import io
import pathlib

from absl import flags

from zoo import files
from zoo.tools import config

FLAGS = flags.FLAGS
COLORS = ("tab:red", "tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
CHANGES = "bcsh"  # brightness, contrast, saturation, hue


def define_flags():
    """Defines this program's flags."""
    config.define_gin_flags()
    flags.DEFINE_string("data", None, "Name of a dataset, such as digits. By default, that of the gin files.")
    flags.DEFINE_string("split", "train", "Split of the dataset --data.")
    flags.DEFINE_integer("size", None, "Pixels per side to resize the images of --data to.", lower_bound=1)
    flags.DEFINE_integer("count", 8, "Number of images to show.", lower_bound=1)
    flags.DEFINE_integer("epoch", 0, "Training epoch whose views are shown, from 0.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Seed of the run whose views are shown.", lower_bound=0)
    flags.DEFINE_string("out", "sheet.png", "Path of the image file to write.")


def rows_of(drawn, count):
    """Returns a nest of arrays `[B, ...]` as a list of `count` nests, one per image."""
    if isinstance(drawn, dict):
        parts = {name: rows_of(value, count) for name, value in drawn.items()}
        return [{name: part[row] for name, part in parts.items()} for row in range(count)]
    if isinstance(drawn, tuple):
        parts = [rows_of(value, count) for value in drawn]
        return [tuple(part[row] for part in parts) for row in range(count)]
    return list(drawn[:count])


def lines(view, drawn):
    """Returns the draw of one image as text, a line for every view that has an effect."""
    name = type(view).__name__
    if "steps" in drawn:
        parts = zip(view.steps, drawn["steps"], strict=True)
        return [line for step, step_drawn in parts for line in lines(step, step_drawn)]
    if "operation" in drawn:
        parts = zip(drawn["operation"], drawn["applied"], drawn["magnitude"], strict=True)
        return [f"{view.operations[number]} {magnitude:.1f}" for number, applied, magnitude in parts if applied]
    if "applied" in drawn:
        return lines(view.view, drawn["view"]) if drawn["applied"] else []
    if "choice" in drawn:
        return lines(view.views[drawn["choice"]], drawn["views"][drawn["choice"]])
    if "offsets" in drawn:
        return [" ".join([name, *map(str, drawn["order"])])]
    if "flipped" in drawn:
        return [name] if drawn["flipped"] else []
    if "order" in drawn:
        values = [drawn[change] for change in ("brightness", "contrast", "saturation", "hue")]
        return [f"{name} " + " ".join(f"{CHANGES[i]}{values[i]:.2f}" for i in drawn["order"])]
    if "box" in drawn:
        return ["{} {:.0f},{:.0f} {:.0f}x{:.0f}".format(name, *drawn["box"])]
    if not drawn:
        return [str(view)]
    return [" ".join([name, *(f"{value:.2f}" for value in drawn.values() if value.ndim == 0)])]


def box(drawn):
    """Returns (top, left, height, width) of the first crop in the draw of one image, or None."""
    if isinstance(drawn, dict):
        return drawn["box"] if "box" in drawn else box(tuple(drawn.values()))
    found = [box(part) for part in drawn] if isinstance(drawn, tuple) else []
    return next((part for part in found if part is not None), None)


def columns(view, drawn):
    """Returns, for every view of one image, the lines of its draw, and its box in the image or None."""
    if "branches" in drawn:
        parts = zip(view.branches, drawn["branches"], strict=True)
        return [column for branch, branch_drawn in parts for column in columns(branch, branch_drawn)]
    if "corners" in drawn:
        name, size = type(view).__name__, view.size
        return [([f"{name} {top},{left}"], (top, left, size, size)) for top, left in drawn["corners"]]
    if "steps" in drawn and view.several:
        *steps, last = zip(view.steps, drawn["steps"], strict=True)
        before = [line for step, step_drawn in steps for line in lines(step, step_drawn)]
        first_box = box(drawn["steps"][:-1])
        # Boxes of later views are boxes in the image only if nothing was done to the image before.
        return [(before + after, first_box if before else last_box) for after, last_box in columns(*last)]
    return [(lines(view, drawn), box(drawn))]


def sheet(views, images, ids, epoch, seed):
    """Draws the contact sheet.

    Args:
        views: a `zoo.views.view.Views`.
        images: float32 in [0, 1], `[B, H, W, C]`, or a dictionary of maps with the key `"image"`.
        ids: int32 `[B]`.
        epoch: epoch of training.
        seed: seed of the run.

    Returns:
        A matplotlib figure.
    """
    import keras
    from matplotlib import figure

    from zoo import seeds
    from zoo.views import maps, pictures

    drawn = views.draw(seeds.Seed(seed).fold(epoch).fold(ids), maps.shapes(images))
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, images)
    made = [keras.ops.convert_to_numpy(view) for view in views.apply(tensors, drawn)]
    originals = images["image"] if isinstance(images, dict) else images
    shown = [pictures.displayable(view) for view in (originals, *made)]
    drawn = rows_of(keras.tree.map_structure(keras.ops.convert_to_numpy, drawn), len(originals))
    canvas = figure.Figure(figsize=(2 * len(shown), 2.5 * len(originals)), dpi=110, layout="constrained")
    axes = canvas.subplots(len(originals), len(shown), squeeze=False)
    for row in range(len(originals)):
        for column, view in enumerate(shown):
            picture, axis = view[row], axes[row, column]
            axis.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(f"view {column}" if column else "image", fontsize=8)
        axes[row, 0].set_xlabel(f"id {ids[row]}", fontsize=6)
        parts = zip(views.chains, drawn[row]["chains"], strict=True)
        _annotate(axes[row], [column for chain, chain_drawn in parts for column in columns(chain, chain_drawn)])
    return canvas


def _annotate(axes, texts_and_boxes):
    """Writes the draws below the views of one image, and frames the views and their boxes in the same color."""
    from matplotlib import patches

    for number, (text, rectangle) in enumerate(texts_and_boxes):
        color = COLORS[number % len(COLORS)]
        axes[number + 1].set_xlabel("\n".join(text), fontsize=6)
        for spine in axes[number + 1].spines.values():
            spine.set(color=color, linewidth=2)
        if rectangle is not None:
            top, left, height, width = rectangle
            corner = (left - 0.5, top - 0.5)
            axes[0].add_patch(patches.Rectangle(corner, width, height, fill=False, color=color, lw=2))


def place(out):
    """Returns the path of the image file to write; ValueError where its folder is missing."""
    path = pathlib.Path(out).expanduser()
    if not path.parent.is_dir():
        raise ValueError(f"--out: expected a file in a folder that exists. Received: out={out!r}.")
    return path if path.suffix else path.with_suffix(".png")


def main(argv):
    """Draws the contact sheet."""
    del argv
    import numpy as np

    from zoo.data import sources
    from zoo.train import task

    out = place(FLAGS.out)
    config.parse(FLAGS.gin_file, FLAGS.gin_param)
    views = config.binding("views")
    source = sources.load(FLAGS.data, FLAGS.split, size=FLAGS.size) if FLAGS.data else config.binding("data")
    rows = np.arange(min(FLAGS.count, source.size))
    examples = source.examples(rows)
    images = {key: values.astype("float32") / 255 for key, values in examples.items() if task.is_map(values)}
    drawn = io.BytesIO()
    sheet(views, images, examples["id"], FLAGS.epoch, FLAGS.seed).savefig(drawn, format=out.suffix[1:])
    files.write(out, drawn.getvalue())
    print(out)
    return 0


def cli():
    """Runs the program `zoo-views`."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
