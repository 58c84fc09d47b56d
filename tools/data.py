"""Looks after data sets: imports raw files from disk, prepares TFDS data, and says what there is.

zoo-data import fashion_mnist --from=/usr/share/datasets/fashion-mnist
zoo-data import openclipart --from=/usr/share/openclipart/png
zoo-data prepare cifar10
zoo-data info folder:/path/to/images --split='train[:10%]'
zoo-data info scenes --modalities=image,depth,normals
zoo-data list
"""

import argparse
import sys

from absl import app, logging
from absl.flags import argparse_flags


def parser():
    """The command line's parser."""
    described = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    top = argparse_flags.ArgumentParser(prog="zoo-data", **described)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, action, about):
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(action=action)
        sub.add_argument("--data_dir", help="Folder of TFDS; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.")
        return sub

    importing = command("import", seed, "Verify raw files, enter them as TFDS downloads, and prepare the data set.")
    importing.add_argument("name", help="Data set, as `zoo-data list` shows.")
    importing.add_argument("--from", dest="folder", help="Folder of the raw files; where the package puts them.")
    preparing = command("prepare", prepare, "Download and prepare a TFDS data set.")
    preparing.add_argument("name", help="TFDS name, such as cifar10.")
    telling = command("info", info, "Shape, classes and counts of a source.")
    telling.add_argument("name", help="digits, folder:/path/to/images, or a TFDS name.")
    telling.add_argument("--split", default="train", help="Split string, such as train[:10%%].")
    telling.add_argument("--size", type=int, help="Side of the square that images are fitted to.")
    telling.add_argument("--modalities", help="Image features to join along their channels, such as image,depth.")
    command("list", known, "Data that is here, or that can be imported from disk.")
    return top


def seed(args):
    """`zoo-data import`."""
    from zoo.data import packaged

    report(packaged.imported(args.name, args.folder, args.data_dir))


def prepare(args):
    """`zoo-data prepare`."""
    from zoo.data import builders

    report(builders.prepared(args.name, args.data_dir))


def report(builder):
    """Prints where a builder's data lies and how much of it there is."""
    print(f"{builder.info.full_name} in {builder.data_dir}")
    for name, split in builder.info.splits.items():
        print(f"  {name:12} {split.num_examples:>10,} examples in {split.num_shards} files")
    for name, value in dict(builder.info.metadata or {}).items():
        print(f"  {name:12} {value:>10,}" if isinstance(value, int) else f"  {name:12} {value}")


def info(args):
    """`zoo-data info`."""
    import numpy as np

    from zoo.data import sources

    modalities = args.modalities.split(",") if args.modalities else None
    source = sources.load(args.name, args.split, size=args.size, data_dir=args.data_dir, modalities=modalities)
    print(f"{source.name} {source.split}: {source.size:,} images of {source.image_shape}")
    for name, channels in (source.modalities or {}).items():
        print(f"  {name} has {channels} of the channels")
    print(f"  kept    {'in memory' if source.in_memory else 'on disk'}")
    if source.labels is None:
        print("  classes none")
        return
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(source.classes))
    print(f"  classes {len(source.classes)}")
    for name, count in zip(source.classes, counts, strict=True):
        print(f"  {count:>10,}  {name}")


def known(args):
    """`zoo-data list`."""
    import pathlib

    import tensorflow_datasets as tfds

    from zoo.data import packaged

    print("digits: with scikit-learn, always here")
    print("folder:/path/to/images: your own")
    print("scenes: rendered when first asked for")
    for name, package in sorted(packaged.PACKAGES.items()):
        state = "its package is installed" if pathlib.Path(package.folder).is_dir() else "its package is not installed"
        print(f"{name}: zoo-data import {name} --from={package.folder} ({state})")
    folder = args.data_dir or tfds.core.constants.DATA_DIR
    for path in sorted(pathlib.Path(folder).expanduser().glob("**/dataset_info.json")):
        print(f"{path.parent.relative_to(pathlib.Path(folder).expanduser())}: prepared in {folder}")


def main(args):
    """Runs a command; a mistake of the user ends with a message and status 1, without a traceback."""
    logging.use_absl_handler()
    try:
        args.action(args)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        logging.debug("Traceback:", exc_info=True)  # shown with --verbosity=1
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def cli():
    """The program `zoo-data`."""
    app.run(main, flags_parser=lambda argv: parser().parse_args(argv[1:]))


if __name__ == "__main__":
    cli()
