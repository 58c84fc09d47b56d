"""Manages datasets: checks folders of images, imports raw files, prepares and exports TFDS datasets, and lists all.

zoo-data import fashion_mnist --from=/usr/share/datasets/fashion-mnist
zoo-data import openclipart --from=/usr/share/openclipart/png
zoo-data import icons
zoo-data import icons/color64 --from=json-2.2.535.tgz
zoo-data prepare cifar10
zoo-data check folder:/path/to/images
zoo-data info folder:/path/to/images --split='train[:10%]'
zoo-data info scenes --extra=depth,normals
zoo-data export openclipart --size=32
zoo-data export folder:/path/to/images --size=224 --out=/data/images
zoo-data list
"""

import argparse
import sys
import textwrap
import time
from typing import Any

import numpy as np
from absl import app, logging
from absl.flags import argparse_flags

from zoo.data import stores
from zoo.tools import missing, stopping


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    described = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    top = argparse_flags.ArgumentParser(prog="zoo-data", **described)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, action, about):
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(action=action)
        sub.add_argument("--data_dir", help="Data folder of TFDS; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.")
        return sub

    importing = command("import", import_package, "Verify raw files on disk, and prepare a TFDS dataset from them.")
    importing.add_argument("name", help="Name of the dataset, as shown by `zoo-data list`.")
    importing.add_argument(
        "--from",
        dest="source",
        help="Folder of the raw files, or the file that would be downloaded; by default the folder of the system "
        "package, or the download.",
    )
    preparing = command("prepare", prepare, "Download and prepare a TFDS dataset.")
    preparing.add_argument("name", help="TFDS name of the dataset, such as cifar10.")
    describing = command("info", info, "Show the size, shapes and classes of a dataset.")
    describing.add_argument("name", help="Name of the dataset: digits, folder:/path/to/images, or a TFDS name.")
    describing.add_argument("--split", default="train", help="Split string, such as train[:10%%].")
    checking = command("check", check, "Show what a folder of images was taken for, and every file that is broken.")
    checking.add_argument("name", help="Name of the folder, such as folder:/path/to/images.")
    exporting = command("export", export, "Decode all splits of a dataset into arrays, which every backend can read.")
    exporting.add_argument("name", help="Name of the dataset: digits, folder:/path/to/images, or a TFDS name.")
    exporting.add_argument(
        "--channels", type=int, help="Number of channels of the image, 1 or 3; by default what the dataset has."
    )
    exporting.add_argument(
        "--out",
        help="File or folder to write: a name that ends in .npz makes a compressed archive, any other a folder, for "
        "data that exceed the memory. By default, the archive in which training looks for the dataset.",
    )
    for sub in (checking, describing, exporting):
        sub.add_argument("--white", type=float, help="Sample that becomes white, for gray files of more than 8 bits.")
        sub.add_argument(
            "--max_pixels", type=int, default=stores.PIXELS, help="Number of pixels above which an image is refused."
        )
    for sub in (describing, exporting):
        sub.add_argument(
            "--size", type=int, help="Side in pixels of the square that images are cropped and resized to."
        )
        sub.add_argument(
            "--skip_broken", action="store_true", help="Leave out files of a folder that cannot be read; all are tried."
        )
        sub.add_argument("--image", help="Feature of a TFDS dataset that becomes the image, where it has several.")
        sub.add_argument(
            "--extra",
            type=names,
            default=(),
            help="Further features of a TFDS dataset to keep, separated by commas, such as depth,normals.",
        )
    command("list", known, "List datasets that are on this machine, or that can be imported from disk.")
    return top


def names(text: str) -> tuple[str, ...]:
    """Returns the names in a comma-separated list."""
    return tuple(name for name in text.split(",") if name)


def import_package(args: argparse.Namespace) -> None:
    """Runs `zoo-data import`."""
    from zoo.data import packaged

    report(packaged.imported(args.name, args.source, args.data_dir))


def prepare(args: argparse.Namespace) -> None:
    """Runs `zoo-data prepare`."""
    from zoo.data import builders

    report(builders.prepared(args.name, args.data_dir))


def report(builder: Any) -> None:
    """Prints the folder of a TFDS dataset and the size of every split."""
    print(f"{builder.info.full_name} in {builder.data_dir}")
    for name, split in builder.info.splits.items():
        print(f"  {name:12} {split.num_examples:>10,} examples in {split.num_shards} files")
    for name, value in dict(builder.info.metadata or {}).items():
        shown = f"{value:>10,}" if isinstance(value, int) else textwrap.shorten(str(value), 100, placeholder=" ...")
        print(f"  {name:12} {shown}")


def info(args: argparse.Namespace) -> None:
    """Runs `zoo-data info`."""
    import pathlib

    from zoo.data import sources, splits

    root = pathlib.Path(args.name.removeprefix("folder:")).expanduser()
    if args.name.startswith("folder:") and root.is_dir():  # an export may stand for a folder of another machine
        describe(args.name)
    settings = {"size": args.size, "image": args.image, "extra": args.extra, **decoding(args)}
    source = sources.load(args.name, args.split, data_dir=args.data_dir, **settings)
    print(f"{source.name} {source.split}: {source.size:,} examples")
    for key, (shape, dtype) in source.spec.items():
        if key not in ("label", "id"):
            print(f"  {key:<7} {dtype} {shape}")
    print(f"  kept    {'in memory' if source.in_memory else 'on disk'}")
    if source.skipped:
        print(f"  skipped {splits.listed(source.skipped, 20)}")
    if source.labels is None:
        print("  classes none")
        return
    counts = np.bincount(source.labels[source.labels >= 0], minlength=source.class_count)
    print(f"  classes {source.class_count}")
    for name, count in zip(source.classes, counts, strict=True):
        print(f"  {count:>10,}  {splits.printable(name)}")


def decoding(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `zoo.data.sources.load` that say how image files are decoded."""
    return {name: getattr(args, name) for name in ("skip_broken", "white", "max_pixels")}


def describe(name: str) -> Any:
    """Prints what a folder of images was taken for, and what was passed over; returns its `folders.Listing`."""
    from zoo.data import folders, splits

    found = folders.listing(name.removeprefix("folder:"))
    print(f"{name}: {len(found.paths):,} images")
    print(f"  layout  {found.layout}")
    for kind, (count, first) in sorted(found.passed_over.items()):
        print(f"  passed over {kind}: {count:,}, such as {splits.printable(first)}")
    return found


def check(args: argparse.Namespace) -> None:
    """Runs `zoo-data check`."""
    if not args.name.startswith("folder:"):
        raise ValueError(f"check: expected a name such as folder:/path/to/images. Received: name={args.name!r}.")
    from zoo.data import readers, splits

    found = describe(args.name)
    for note in found.notes:
        print(f"  note: {note}")
    print(f"  {'  '.join(f'{split:>10}' for split in found.counts)}")
    print(f"  {'  '.join(f'{count:>10,}' for count in found.counts.values())}  images")
    if found.labels is not None:
        parts = np.split(found.labels, np.cumsum(list(found.counts.values()))[:-1])
        table = [np.bincount(part[part >= 0], minlength=len(found.classes)) for part in parts]
        for name, *counts in zip(found.classes, *table, strict=True):
            print(f"  {'  '.join(f'{count:>10,}' for count in counts)}  {splits.printable(name)}")

    broken = 0
    for path, reason in readers.examined(found, stores.Decoding(args.max_pixels, args.white)):
        if reason is not None:
            broken += 1
            print(f"  broken: {splits.printable(path)}: {reason}", flush=True)
    total = len(found.paths) + len(found.unusable)
    if broken:
        raise ValueError(
            f"check: expected no broken file. Received: {broken:,} of {total:,}; repair or remove them, or train with "
            "--gin_param='sources.load.skip_broken = True'."
        )
    print(f"  all {total:,} images can be read")


def export(args: argparse.Namespace) -> None:
    """Runs `zoo-data export`."""
    import pathlib

    from zoo.data import arrays, sources

    settings = {"size": args.size, "channels": args.channels, "image": args.image}
    place = arrays.place(args.name, **settings, extra=args.extra, data_dir=args.data_dir)
    more = {"extra": args.extra, "data_dir": args.data_dir, **decoding(args)}
    out = pathlib.Path(args.out or place).expanduser()
    large = {} if args.name == "digits" else {"in_memory": False}  # decoded batch by batch
    parts, classes, skipped = {}, None, ()
    for split in sources.counts(args.name, args.data_dir):
        source = sources.load(args.name, split, **large, **settings, **more)
        classes, skipped = source.classes or classes, source.skipped
        parts[split] = (source.size, source.spec, _logged(source, split))
    arrays.write(out, args.name, parts, classes, **settings, skipped=skipped, white=args.white)
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


def known(args: argparse.Namespace) -> None:
    """Runs `zoo-data list`."""
    import pathlib

    import tensorflow_datasets as tfds

    from zoo.data import packaged

    print("digits: part of scikit-learn, always available")
    print("folder:/path/to/images: your own images")
    print("scenes: rendered on first use")
    for name, package in sorted(packaged.PACKAGES.items()):
        if package.folder is None:
            print(f"{name}: zoo-data import {name} (downloaded, or --from=FILE)")
            continue
        state = "its package is installed" if pathlib.Path(package.folder).is_dir() else "its package is not installed"
        print(f"{name}: {package.command(name)} ({state})")
    folder = args.data_dir or tfds.core.constants.DATA_DIR
    for path in sorted(pathlib.Path(folder).expanduser().glob("**/dataset_info.json")):
        print(f"{path.parent.relative_to(pathlib.Path(folder).expanduser())}: prepared in {folder}")


def main(args: argparse.Namespace) -> int:
    """Runs a command; an error is reported in one line, without a traceback, and yields status 1."""
    stopping.heed()
    logging.use_absl_handler()
    try:
        args.action(args)
    except KeyboardInterrupt as error:
        return stopping.status(error)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        logging.debug("Traceback:", exc_info=True)  # shown with --verbosity=1
        print(f"error: {missing.advice(error) or error}", file=sys.stderr, flush=True)
        return 1
    return 0


def cli() -> None:
    """Runs the program `zoo-data`."""
    app.run(main, flags_parser=lambda argv: parser().parse_args(argv[1:]))


if __name__ == "__main__":
    cli()
