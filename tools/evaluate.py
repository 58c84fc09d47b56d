"""Evaluates an encoder with transfer protocols, alongside raw pixels and the same architecture with fresh weights.

zoo-evaluate --model=simclr_resnet18_fashion_mnist.v1 --data=fashion_mnist --out=evaluated/fashion
zoo-evaluate --model=runs/digits --data=digits --protocol=knn --labels=all,10 --out=evaluated/digits
zoo-evaluate --model=runs/seed0 --model=runs/seed1 --model=runs/seed2 --data=digits --out=evaluated/three_seeds
zoo-evaluate --model=simclr_convnet_digits.e100 --model=runs/digits --data=digits --out=evaluated/side_by_side
zoo-evaluate --model=runs/digits --protocol=knn,my_protocol.accuracy --out=evaluated/my_protocol

A model is the name of a published model, a model folder, a SavedModel folder (with a signature `serving_default` from
`images` to `embedding`) or the workdir of a training run. Of workdirs whose configurations differ in the seed alone,
the table shows the mean; other models stand side by side. Size, channels and modality of the images are those that the
models take. Settings are chosen on training labels; test images are used once for each number. The table is printed and
written to results.md as Markdown; all numbers, their settings and the command are written to results.json.
"""

import os
import pathlib
import re
import sys

from absl import flags

from zoo import files
from zoo.data import stores
from zoo.hub import cards
from zoo.tools import config

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of the program."""
    flags.DEFINE_multi_string(
        "model",
        None,
        "Name of a published model, model folder, SavedModel folder or training workdir. Several, one flag each, stand "
        "side by side; of workdirs that differ in the seed alone, the mean is shown.",
        required=True,
    )
    flags.DEFINE_string(
        "encoder",
        None,
        "Name of the encoder to evaluate, for a training workdir whose method has several; the first by default.",
    )
    flags.DEFINE_list(
        "protocol",
        ["knn", "linear"],
        "Protocols, separated by commas: knn, linear, or the import path of your own function, such as "
        "my_protocol.accuracy in the current folder.",
    )
    flags.DEFINE_list(
        "labels", ["all", "10"], "Numbers of training labels, separated by commas: `all`, or a number per class."
    )
    flags.DEFINE_string("out", None, "Folder in which to write results.json and results.md.", required=True)
    flags.DEFINE_bool(
        "trust",
        False,
        "Allow the configuration of a workdir to name, and so execute, functions outside of the library, such as a "
        "method of your own, and a SavedModel to use files, processes and the network.",
    )
    flags.DEFINE_string("data", "digits", "Name of the data: digits, a TFDS name, or folder:/path/to/images.")
    flags.DEFINE_string("data_dir", None, "Folder in which TFDS keeps its data.")
    flags.DEFINE_string("train_split", "train", "Split whose labels the protocols use.")
    flags.DEFINE_string("test_split", "test", "Split on which the protocols measure.")
    flags.DEFINE_string(
        "image",
        None,
        "Feature of the data set to take as the image, such as depth; by default the one "
        "that the models were trained on, if on the same data.",
    )
    flags.DEFINE_integer(
        "size", None, "Height and width to resize the images to; by default what the models take.", lower_bound=1
    )
    flags.DEFINE_integer(
        "channels", None, "Number of channels to convert the images to, 1 or 3; by default what the models take."
    )
    flags.DEFINE_bool("skip_broken", False, "Leave out files of a folder that cannot be read; results.json names them.")
    flags.DEFINE_float("white", None, "Sample that becomes white, for gray files of a folder of more than 8 bits.")
    flags.DEFINE_integer(
        "max_pixels", stores.PIXELS, "Number of pixels above which an image file is refused.", lower_bound=1
    )
    flags.DEFINE_integer("draws", 10, "Number of random draws of the few labels.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the label draws, the folds and the untrained weights.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 256, "Number of images that pass through the encoder at once.", lower_bound=1)
    flags.DEFINE_string("card", None, "A card.json, or its folder, to which the results are added.")


def resolve(name, encoder=None, trust=False):
    """Returns the model that a name or a path stands for: a Keras model, or the path of a SavedModel.

    Args:
        name: name of a published model, model folder, SavedModel folder or training workdir.
        encoder: name of an encoder of a training workdir's method; the first by default.
        trust: whether a workdir or a SavedModel may execute what is not the library's.

    Raises:
        ValueError: the name stands for no model, or the method has no such encoder.
    """
    from zoo.engine import graphs
    from zoo.hub import pretrained
    from zoo.methods import method as methods

    path = pathlib.Path(name).expanduser()
    if path.is_dir() and not (path / cards.CARD).is_file():
        if (path / "config.gin").is_file():
            return methods.encoder_named(config.restore(path, trust)[0], encoder)
        if (path / "saved_model.pb").is_file():
            if trust:
                graphs.trust(path)
            return str(path)
        raise ValueError(
            f"--model: expected a folder with {cards.CARD}, saved_model.pb or config.gin. Received: model={name!r}."
        )
    return pretrained.load(str(path) if path.is_dir() else name)


def configurations(names):
    """Returns the configurations of those of `names` that are workdirs, by name."""
    paths = {name: pathlib.Path(name).expanduser() / "config.gin" for name in names}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


def grouped(names, configured):
    """Returns lists of `names`, by the name of their column: workdirs that differ in the seed alone are one.

    Args:
        names: see `resolve`.
        configured: their `configurations`.
    """
    groups = {}
    for name in names:
        lines = configured.get(name, name).splitlines()
        key = "\n".join(line for line in lines if not line.startswith("loop.run.seed = "))
        groups.setdefault(key, []).append(name)
    columns = {}
    for found in groups.values():
        path = pathlib.Path(found[0]).absolute()
        column = path.name if len(found) == 1 else path.parent.name
        while column in columns:
            column += "'"
        columns[column] = found
    return columns


def modality(names, configured, data):
    """Returns the feature of the data that models were trained on as the image, None for the usual one.

    Args:
        names: see `resolve`.
        configured: their `configurations`.
        data: name of the data; those of models that were trained on other data are not known.

    Raises:
        ValueError: the models were trained on different features.
    """
    found = set()
    for name in names:
        text = configured.get(name)
        if text is None:
            try:
                text = cards.read(cards.find(name))["training"].get("config", "")
            except (OSError, ValueError):  # a plain SavedModel
                continue
        if re.search(rf"^sources\.load\.name = {data!r}$", text, re.MULTILINE):
            bound = re.search(r"^sources\.load\.image = '(\w+)'$", text, re.MULTILINE)
            found.add(bound.group(1) if bound else None)
    if len(found) > 1:
        raise ValueError(f"--image: expected models of one modality. Received: {', '.join(map(str, found))}.")
    return next(iter(found), None)


def counts(labels):
    """Returns the values of --labels, with numbers as integers."""
    for text in labels:
        if text != "all" and not text.isdigit():
            raise ValueError(f"--labels: expected `all` or a number of labels per class. Received: labels={text!r}.")
    return tuple(text if text == "all" else int(text) for text in labels)


def main(argv):
    """Evaluates the models."""
    del argv
    from rich import console

    from zoo.transfer import evaluate, results

    sys.path.append(os.getcwd())  # for protocols of your own: a console script does not look here
    labels = counts(FLAGS.labels)
    configured = configurations(FLAGS.model)
    card, columns = None, grouped(FLAGS.model, configured)
    if FLAGS.card and len(columns) > 1:
        raise ValueError(f"--card: expected a single model. Received: {len(columns)}: {', '.join(columns)}.")
    if FLAGS.card:  # read first, so that a mistyped path does not cost the whole evaluation
        place = pathlib.Path(FLAGS.card).expanduser()
        place = place if place.is_dir() else place.parent
        card = cards.read(place)
    out = pathlib.Path(FLAGS.out).expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out: expected a folder that can be written. Received: out={FLAGS.out!r} ({error})."
        ) from error
    models = {
        column: [resolve(name, FLAGS.encoder, FLAGS.trust) for name in names] for column, names in columns.items()
    }
    rows = evaluate.evaluate(
        models if len(models) > 1 else next(iter(models.values())),
        FLAGS.data,
        protocols=tuple(FLAGS.protocol),
        train_split=FLAGS.train_split,
        test_split=FLAGS.test_split,
        labels=labels,
        draws=FLAGS.draws,
        seed=FLAGS.seed,
        data_dir=FLAGS.data_dir,
        size=FLAGS.size,
        channels=FLAGS.channels,
        batch_size=FLAGS.batch_size,
        image=FLAGS.image or modality(FLAGS.model, configured, FLAGS.data),
        skip_broken=FLAGS.skip_broken,
        white=FLAGS.white,
        max_pixels=FLAGS.max_pixels,
    )
    command = config.command("zoo-evaluate", FLAGS, "out", "data_dir", "card")
    written = results.write(out, rows, command)
    files.write(written.with_suffix(".md"), results.markdown(rows))
    # When it writes to a file, rich would wrap every cell to fit 80 columns.
    console.Console(width=None if sys.stdout.isatty() else 160).print(results.rich_table(rows))
    print(f"Wrote {written} and {written.with_suffix('.md').name}.")
    if card:
        cards.write(results.on_card(card, rows, command), place)
        print(f"Wrote {place / cards.CARD}.")
    return 0


def cli():
    """Runs the program `zoo-evaluate`."""
    config.use_onednn()
    define_flags()
    config.launch(main, engine=True)


if __name__ == "__main__":
    cli()
