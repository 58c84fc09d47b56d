"""Draws what a configuration's views do to images: a contact sheet, one image per row.

zoo-views --gin_file=views/simclr_small.gin --data=digits --out=sheet.png
zoo-views --gin_file=runs/cmc_4_scenes.gin --count=8 --epoch=3 --out=sheet.png

Left the image with the box of every view's crop, then the views as training makes them in that epoch, each above what
was drawn for it. Channels that are not colours stand side by side in grey, patches on a grid.
"""

from absl import flags

from zoo.tools import config

FLAGS = flags.FLAGS
COLOURS = ("tab:red", "tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
CHANGES = "bcsh"  # brightness, contrast, saturation, hue


def define_flags():
    """Defines this program's flags."""
    config.define_gin_flags()
    flags.DEFINE_string("data", None, "Images: a name that `zoo.data.sources.load` knows; by default the run's own.")
    flags.DEFINE_string("split", "train", "The split of --data.")
    flags.DEFINE_integer("size", None, "Side that images are resized to; needed for data of many sizes.", lower_bound=1)
    flags.DEFINE_integer("count", 8, "Images, hence rows.", lower_bound=1)
    flags.DEFINE_integer("epoch", 0, "The epoch, on which the draws depend.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "The run's seed, on which the draws depend.", lower_bound=0)
    flags.DEFINE_string("out", "sheet.png", "The picture to write.")


def rows_of(drawn, count):
    """A nest of arrays `[B, ...]` as a list of `count` nests, one per image."""
    if isinstance(drawn, dict):
        parts = {name: rows_of(value, count) for name, value in drawn.items()}
        return [{name: part[row] for name, part in parts.items()} for row in range(count)]
    if isinstance(drawn, tuple):
        parts = [rows_of(value, count) for value in drawn]
        return [tuple(part[row] for part in parts) for row in range(count)]
    return list(drawn[:count])


def lines(view, drawn):
    """What was drawn for one image, a line per view that did something."""
    name = type(view).__name__
    if "steps" in drawn:
        return [line for step, its in zip(view.steps, drawn["steps"], strict=True) for line in lines(step, its)]
    if "operation" in drawn:
        chosen = zip(drawn["operation"], drawn["applied"], drawn["magnitude"], strict=True)
        return [f"{view.operations[number]} {much:.1f}" for number, applied, much in chosen if applied]
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
    """The first crop's (top, left, height, width) in one image's draw, or None."""
    if isinstance(drawn, dict):
        return drawn["box"] if "box" in drawn else box(tuple(drawn.values()))
    found = [box(part) for part in drawn] if isinstance(drawn, tuple) else []
    return next((one for one in found if one is not None), None)


def columns(view, drawn):
    """For each view that is made of one image: the lines of what was drawn for it, and its box in the image or None."""
    if "branches" in drawn:
        parts = zip(view.branches, drawn["branches"], strict=True)
        return [column for branch, its in parts for column in columns(branch, its)]
    if "corners" in drawn:
        name, size = type(view).__name__, view.size
        return [([f"{name} {top},{left}"], (top, left, size, size)) for top, left in drawn["corners"]]
    if "steps" in drawn and view.several:
        *steps, last = zip(view.steps, drawn["steps"], strict=True)
        before = [line for step, its in steps for line in lines(step, its)]
        cut = box(drawn["steps"][:-1])
        # A later box is one in the image only if nothing was done to the image before.
        return [(before + its, cut if before else own) for its, own in columns(*last)]
    return [(lines(view, drawn), box(drawn))]


def sheet(views, images, ids, epoch, seed):
    """The contact sheet of `images`, float32 `[B, H, W, C]`, as a matplotlib figure."""
    import keras
    from matplotlib import figure, patches

    from zoo import seeds
    from zoo.train import pictures

    drawn = views.draw(seeds.Seed(seed).fold(epoch).fold(ids), images.shape[1:])
    made = [keras.ops.convert_to_numpy(one) for one in views.apply(keras.ops.convert_to_tensor(images), drawn)]
    shown = [pictures.legible(one) for one in (images, *made)]
    drawn = rows_of(keras.tree.map_structure(keras.ops.convert_to_numpy, drawn), len(images))
    wide = len(shown)
    canvas = figure.Figure(figsize=(2 * wide, 2.5 * len(images)), dpi=110, layout="constrained")
    axes = canvas.subplots(len(images), wide, squeeze=False)
    for row in range(len(images)):
        for column, picture in enumerate(one[row] for one in shown):
            axis = axes[row, column]
            axis.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(f"view {column}" if column else "image", fontsize=8)
        axes[row, 0].set_xlabel(f"id {ids[row]}", fontsize=6)
        parts = zip(views.chains, drawn[row]["chains"], strict=True)
        for number, (text, cut) in enumerate(column for chain, its in parts for column in columns(chain, its)):
            colour = COLOURS[number % len(COLOURS)]
            axis = axes[row, number + 1]
            axis.set_xlabel("\n".join(text), fontsize=6)
            for spine in axis.spines.values():
                spine.set(color=colour, linewidth=2)
            if cut is not None:
                top, left, height, width = cut
                corner = (left - 0.5, top - 0.5)
                axes[row, 0].add_patch(patches.Rectangle(corner, width, height, fill=False, color=colour, lw=2))
    return canvas


def main(argv):
    """Draws."""
    del argv
    import numpy as np

    from zoo.data import sources

    config.parse(FLAGS.gin_file, FLAGS.gin_param)
    views = config.binding("views")
    source = sources.load(FLAGS.data, FLAGS.split, size=FLAGS.size) if FLAGS.data else config.binding("data")
    rows = np.arange(min(FLAGS.count, source.size))
    images = source.fetch(rows).astype("float32") / 255  # [B, H, W, C]
    sheet(views, images, source.ids[rows].astype("int32"), FLAGS.epoch, FLAGS.seed).savefig(FLAGS.out)
    print(FLAGS.out)
    return 0


def cli():
    """The program `zoo-views`."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
