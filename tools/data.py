"""Looks after data sets: imports raw files from disk, prepares TFDS data, and says what there is.

zoo-data import fashion_mnist --from=/usr/share/datasets/fashion-mnist
zoo-data import openclipart --from=/usr/share/openclipart/png
zoo-data prepare cifar10
zoo-data info folder:/path/to/images --split='train[:10%]'
zoo-data info scenes --extra=depth,normals
zoo-data export openclipart --size=32
zoo-data export folder:/path/to/images --size=224 --out=/data/images
zoo-data list
"""

import argparse
import sys
import time

import numpy as np
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
    exporting = command("export", export, "Decode a data set, all its splits, into arrays that any engine reads.")
    exporting.add_argument("name", help="digits, folder:/path/to/images, or a TFDS name.")
    exporting.add_argument("--channels", type=int, help="1 or 3; by default what the images have.")
    exporting.add_argument(
        "--out",
        help="A compressed archive if it ends in .npz, else a folder, for data that exceed the memory; by default "
        "where training looks for it.",
    )
    for sub in (telling, exporting):
        sub.add_argument("--size", type=int, help="Side of the square that images are fitted to.")
        sub.add_argument("--image", help="Feature of a TFDS dataset that is the image, if it has several.")
        sub.add_argument(
            "--extra",
            type=names,
            default=(),
            help="Further features of a TFDS dataset, separated by commas, such as depth,normals.",
        )
    command("list", known, "Data that is here, or that can be imported from disk.")
    return top


def names(text: str) -> tuple[str, ...]:
    """Returns the names in a comma-separated list."""
    return tuple(name for name in text.split(",") if name)


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


def info(args: argparse.Namespace) -> None:
    """Runs `zoo-data info`."""
    from zoo.data import sources

    settings = {"size": args.size, "image": args.image, "extra": args.extra}
    source = sources.load(args.name, args.split, data_dir=args.data_dir, **settings)
    print(f"{source.name} {source.split}: {source.size:,} examples")
    for key, (shape, dtype) in source.spec.items():
        if key not in ("label", "id"):
            print(f"  {key:<7} {dtype} {shape}")
    print(f"  kept    {'in memory' if source.in_memory else 'on disk'}")
    if source.labels is None:
        print("  classes none")
        return
    counts = np.bincount(source.labels[source.labels >= 0], minlength=source.class_count)
    print(f"  classes {source.class_count}")
    for name, count in zip(source.classes, counts, strict=True):
        print(f"  {count:>10,}  {name}")


def export(args: argparse.Namespace) -> None:
    """Runs `zoo-data export`."""
    import pathlib

    from zoo.data import arrays, sources

    settings = {"size": args.size, "channels": args.channels, "image": args.image}
    place = arrays.place(args.name, **settings, extra=args.extra, data_dir=args.data_dir)
    out = pathlib.Path(args.out or place).expanduser()
    large = {} if args.name == "digits" else {"in_memory": False}  # decoded batch by batch
    parts, classes = {}, None
    for split in sources.counts(args.name, args.data_dir):
        source = sources.load(args.name, split, data_dir=args.data_dir, extra=args.extra, **large, **settings)
        classes = source.classes or classes
        parts[split] = (source.size, source.spec, _logged(source, split))
    arrays.write(out, args.name, parts, classes, **settings)
    size = sum(file.stat().st_size for file in (out.iterdir() if out.is_dir() else [out]))
    print(f"{args.name} in {out} ({size / 1e6:.1f} MB)")
    for split, (count, spec, _) in parts.items():
        keys = ", ".join(f"{key} {shape}" for key, (shape, _) in spec.items() if key not in ("label", "id"))
        print(f"  {split:12} {count:>10,} examples of {keys}")


def _logged(source, split):
    """Yields the batches of one pass as arrays; logs the progress every 10 s."""
    done, began, logged = 0, time.monotonic(), time.monotonic()
    for batch in source.in_order(256):
        yield {key: np.asarray(value) for key, value in batch.items()}
        done += len(batch["id"])
        now = time.monotonic()
        if now - logged > 10:
            logged = now
            rate = done / (now - began)
            logging.info(
                "%s: %d of %d, %.0f a second, %.0f s left", split, done, source.size, rate, (source.size - done) / rate
            )


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
