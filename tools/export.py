"""Exports the encoder of a training run: one folder with its card, weights for Keras and a SavedModel.

zoo-export --workdir=runs/digits --out=exported/simclr_convnet_digits.v1
zoo-export --workdir=runs/digits --out=exported/simclr_convnet_digits.v1 --overwrite
zoo-export --workdir=runs/cmc --encoder=luma --out=exported/cmc_convnet_openclipart.luma
zoo-export --workdir=runs/digits --serving --out=served --name=digits --version=1
zoo-export --model=simclr_convnet_fashion_mnist.e15 --serving --out=served --version=1

The encoder is that of the newest complete checkpoint, and the card says how it was trained. Flags supply what the run
does not know: licenses and a description. `zoo.load` and `tf.saved_model.load` both read the folder. With --serving it
becomes a version in a folder that TensorFlow Serving and `zoo-serve` serve, with configuration and README. In place of
a run, --model takes a published model or a model folder: it is served as it is or, without --serving, exported anew
with the same card and weights by the present version of the library.
"""

import pathlib

from absl import flags

from zoo.hub import schema
from zoo.tools import config

FLAGS = flags.FLAGS
_UNSTATED = "not stated"


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_string("workdir", None, "Folder of a training run of zoo-train.")
    flags.DEFINE_string(
        "model",
        None,
        "Name of a published model, or a model folder, to serve or export anew in place of a --workdir.",
    )
    flags.DEFINE_string("out", None, "Folder to write; its parent is made if missing.", required=True)
    flags.DEFINE_string("encoder", None, "Name of the encoder to export; by default the method's first one.")
    flags.DEFINE_string("name", None, "Name of the model, method_encoder_data.tag; by default the name of --out.")
    flags.DEFINE_string("description", None, "Description of the model, a sentence; by default made from the run.")
    flags.DEFINE_string("limitations", None, "Limitations of the model, a sentence.")
    flags.DEFINE_string("license_code", "Apache-2.0", "License of the code that builds the model.")
    flags.DEFINE_string("license_weights", _UNSTATED, "License of the weights.")
    flags.DEFINE_string("license_data", _UNSTATED, "License of the data that the model was trained on.")
    flags.DEFINE_string("citation", "", "Citation of the model, BibTeX or a sentence.")
    flags.DEFINE_bool("warmup", True, "Write requests that TensorFlow Serving replays before the model goes live.")
    flags.DEFINE_bool(
        "trust",
        False,
        "Allow the configuration of a workdir to name, and so execute, functions outside of the library, such as a "
        "method of your own.",
    )
    flags.DEFINE_bool("overwrite", False, "Replace an existing model folder, in one step.")
    flags.DEFINE_bool(
        "serving", False, "Add a version to the serving folder --out, which TensorFlow Serving and zoo-serve read."
    )
    flags.DEFINE_integer(
        "version", None, "Number of the version to add; by default one more than the newest. Needs --serving."
    )


def card_name(name, out):
    """Returns the name of the model: as given, else that of the folder."""
    name = name or pathlib.Path(out).absolute().name
    # A bare number is a version folder of TensorFlow Serving.
    if not schema.NAME.fullmatch(name) or name.isdigit():
        raise ValueError(
            "--name: expected lower-case letters, digits and _ . - such as simclr_convnet_digits.v1. "
            f"Received: {name!r}."
        )
    return name


def _check_flags():
    if (FLAGS.workdir is None) == (FLAGS.model is None):
        raise ValueError(
            f"--workdir: expected a training run, or a --model. Received: workdir={FLAGS.workdir!r}, "
            f"model={FLAGS.model!r}."
        )
    if FLAGS.version is not None and not FLAGS.serving:
        raise ValueError(f"--version: expected with --serving only. Received: version={FLAGS.version}.")
    if FLAGS.serving and FLAGS.overwrite:
        raise ValueError("--overwrite: expected without --serving, which adds versions; give a new --version.")


def _of_fixed_size(encoder, run):
    """Returns the encoder for images of the size that the run gave it: that of the first view it takes."""
    from zoo.models import architecture
    from zoo.models import encoder as encoding

    if None not in encoder.input_shape[1:]:
        return encoder
    shapes = run["spec"]["view_shapes"]
    fitting = [shape for shape in shapes if encoding.takes(encoder, shape)]
    if not fitting:
        raise ValueError(f"--workdir: expected a run with a view that its encoder takes. Received: views of {shapes}.")
    return architecture.resized(encoder, fitting[0])


def _export(out, name):
    """Writes the model folder of a run."""
    from zoo.methods import method as methods
    from zoo.serving import export

    method, run = config.restore(pathlib.Path(FLAGS.workdir).expanduser(), FLAGS.trust)
    encoder = _of_fixed_size(methods.encoder_named(method, FLAGS.encoder), run)
    kind = encoder.architecture["factory"].rpartition(":")[2]
    made = f"Encoder {kind}, trained by {run['method']} on {run['data']}, without labels."
    card = {
        "name": name,
        "description": FLAGS.description or made,
        "training": run,
        "license": {"code": FLAGS.license_code, "weights": FLAGS.license_weights, "data": FLAGS.license_data},
        "citation": FLAGS.citation,
    }
    if FLAGS.limitations:
        card["limitations"] = FLAGS.limitations
    written = export.export(encoder, out, card, warmup=FLAGS.warmup, overwrite=FLAGS.overwrite)
    size = sum(file["bytes"] for file in written["files"].values())
    print(f"Wrote {out} ({size / 1e6:.1f} MB): {name}, {written['input']['shape']} -> {written['embedding']}.")


def _export_anew(out):
    """Writes a model folder anew, with the same card and weights."""
    from zoo.hub import cards, pretrained
    from zoo.serving import export

    source = cards.find(FLAGS.model)
    card = cards.opened(source)
    # An older card may lack arguments of the architecture that have been added since, with their defaults.
    given = {name: value for name, value in card.items() if name != "architecture"}
    written = export.export(pretrained.load(source), out, given, warmup=FLAGS.warmup, overwrite=FLAGS.overwrite)
    same = written["files"][cards.WEIGHTS] == card["files"][cards.WEIGHTS]
    print(f"Wrote {out}: {card['name']}, {'the same' if same else 'other bytes of the'} weights.")


def _serve(out):
    """Adds a version to a serving folder."""
    from zoo.hub import cards
    from zoo.serving import deployment, repository

    if FLAGS.model is not None:
        source = cards.find(FLAGS.model)
        name = card_name(FLAGS.name or cards.read(source)["name"], out)
    else:
        name = card_name(FLAGS.name or pathlib.Path(FLAGS.workdir).absolute().name, out)
    there = repository.Model(name, out / name).versions()
    version = FLAGS.version if FLAGS.version is not None else max(there, default=0) + 1
    if FLAGS.model is not None:
        print(f"Wrote {deployment.copy(source, out, name, version)}.")
    else:
        _export(deployment.place(out, name, version), name)
    deployment.configure(out)
    print(f"Serve it:    zoo-serve --model={out}, or docker compose up in {out}; see {out / deployment.README}.")


def main(argv):
    """Exports."""
    del argv
    _check_flags()
    out = pathlib.Path(FLAGS.out).expanduser()
    if FLAGS.serving:
        _serve(out)
        return 0
    if FLAGS.model is not None:
        _export_anew(out)
        return 0
    _export(out, card_name(FLAGS.name, FLAGS.out))
    print(f"Keras:       zoo.load({str(out)!r})")
    print(f"TensorFlow:  tf.saved_model.load({str(out)!r})(images)")
    return 0


def cli():
    """Runs the program `zoo-export`."""
    define_flags()
    config.launch(main, engine=True)


if __name__ == "__main__":
    cli()
