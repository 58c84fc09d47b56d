"""Judges frozen features: nearest neighbours and a linear classifier, beside raw pixels and an untrained encoder.

zoo-evaluate --model=simclr_resnet18_fashion_mnist.v1 --data=fashion_mnist --out=judged/fashion
zoo-evaluate --model=runs/digits --data=digits --protocol=knn --labels=all,10 --out=judged/digits
zoo-evaluate --model=runs/seed0 --model=runs/seed1 --model=runs/seed2 --data=digits --out=judged/three_seeds

A model is the name of a published one, its folder, a plain SavedModel folder (signature `serving_default` from `images`
to `embedding`) or the workdir of a training run. Given several times, for runs of different seeds, the table shows
their mean. Settings are chosen on training labels; test images are used once for each number. The table goes to the
terminal and, as Markdown, to results.md; every number with its settings and its command to results.json.
"""

import pathlib
import sys

from absl import flags

from zoo import files
from zoo.hub import cards
from zoo.tools import config

FLAGS = flags.FLAGS


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_multi_string(
        "model",
        None,
        "Published name, model folder, SavedModel folder or training workdir; may be repeated.",
        required=True,
    )
    flags.DEFINE_string("data", "digits", "Name of the data: digits, a TFDS name, or folder:/path/to/images.")
    flags.DEFINE_list("protocol", ["knn", "linear"], "Which protocols: knn, linear.")
    flags.DEFINE_list("labels", ["all", "10"], "How many training labels: `all`, or a number per class.")
    flags.DEFINE_string("out", None, "Folder for results.json and results.md.", required=True)
    flags.DEFINE_string("train_split", "train", "Split whose labels the protocols use.")
    flags.DEFINE_string("test_split", "test", "Split on which the accuracy is measured.")
    flags.DEFINE_integer("draws", 10, "Random draws of the few labels.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the draws, the held-out labels and the untrained weights.", lower_bound=0)
    flags.DEFINE_string("data_dir", None, "Where TFDS keeps its data.")
    flags.DEFINE_string("view", None, "Whose encoder, of a training workdir with several; by default all as one.")
    flags.DEFINE_list("modalities", None, "Of data with several, those that the encoder takes, such as depth.")
    flags.DEFINE_integer("size", None, "Resize the images to this height and width.", lower_bound=1)
    flags.DEFINE_integer("channels", None, "Convert the images to 1 or 3 channels.")
    flags.DEFINE_integer("batch_size", 256, "Images that pass the encoder at once.", lower_bound=1)
    flags.DEFINE_string("card", None, "A card.json, or its folder, whose results are to hold these numbers too.")


def resolve(name, view=None):
    """The model that is meant by a name or a path.

    Args:
        name: published name, model folder, SavedModel folder or training workdir.
        view: of a training workdir, which of its method's networks.

    Returns:
        A Keras model, a method, or the path of a SavedModel.

    Raises:
        ValueError: none of these.
    """
    from zoo.hub import pretrained

    path = pathlib.Path(name).expanduser()
    if path.is_dir() and not (path / cards.CARD).is_file():
        if (path / "config.gin").is_file():
            return config.restore(path)[0].feature_extractor(view)
        if (path / "saved_model.pb").is_file():
            return str(path)
        raise ValueError(
            f"--model: expected a folder with {cards.CARD}, saved_model.pb or config.gin. Received: model={name!r}."
        )
    return pretrained.load(str(path) if path.is_dir() else name)


def counts(labels):
    """The values of --labels: "all" stays, the rest become integers."""
    for text in labels:
        if text != "all" and not text.isdigit():
            raise ValueError(f"--labels: expected `all` or a number of labels per class. Received: labels={text!r}.")
    return tuple(text if text == "all" else int(text) for text in labels)


def main(argv):
    """Evaluates."""
    del argv
    from rich import console

    from zoo.transfer import judge, results

    labels = counts(FLAGS.labels)
    card = None
    if FLAGS.card:  # read first: a mistyped path should not cost the whole evaluation
        place = pathlib.Path(FLAGS.card).expanduser()
        place = place if place.is_dir() else place.parent
        card = cards.read(place)
    rows = judge.judge(
        [resolve(name, FLAGS.view) for name in FLAGS.model],
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
        modalities=FLAGS.modalities and tuple(FLAGS.modalities),
    )
    command = config.command("zoo-evaluate", FLAGS, "out", "data_dir", "card")
    written = results.write(pathlib.Path(FLAGS.out).expanduser(), rows, command)
    files.write(written.with_suffix(".md"), results.markdown(rows))
    # In a file, rich would fold every cell to fit 80 columns.
    console.Console(width=None if sys.stdout.isatty() else 160).print(results.drawn(rows))
    print(f"Wrote {written} and {written.with_suffix('.md').name}.")
    if card:
        cards.write(results.on_card(card, rows, command), place)
        print(f"Wrote {place / cards.CARD}.")
    return 0


def cli():
    """The program `zoo-evaluate`."""
    config.use_onednn()
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
