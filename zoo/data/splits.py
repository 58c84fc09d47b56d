"""Split strings such as `train[:10%]` or `train+test[100:200]`, read as TFDS reads them, for any data."""

import difflib

import numpy as np
import tensorflow_datasets as tfds


def rows(split, infos, who):
    """The positions that a split string selects within the concatenation of all splits.

    Splits are concatenated `train` first, the others by name, so that a position identifies an example.

    Args:
        split: string or `tfds.core.ReadInstruction` (as `tfds.even_splits` returns).
        infos: split name -> `tfds.core.SplitInfo`.
        who: name of the data, for messages.

    Returns:
        np.int64 `[n]`, in the order of the string.

    Raises:
        ValueError: unknown split, malformed slice, or nothing selected.
    """
    starts = dict(zip(ordered(infos), offsets(infos), strict=True))
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except (ValueError, AssertionError) as error:
        close = difflib.get_close_matches(str(split).partition("[")[0], list(infos), n=1)
        hint = f" Did you mean {close[0]!r}?" if close and close[0] not in str(split) else ""
        raise ValueError(
            f"{who}: expected splits {', '.join(ordered(infos))} or slices of them. "
            f"Received: split={str(split)!r} ({error}).{hint}"
        ) from error
    chosen = []
    for part in parts:
        count = infos[part.splitname].num_examples
        first, last, _ = slice(part.from_, part.to).indices(count)
        chosen.append(starts[part.splitname] + np.arange(first, last, dtype=np.int64))
    chosen = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    if not len(chosen):
        raise ValueError(f"{who}: expected a split with at least one example. Received: split={str(split)!r}.")
    return chosen


def ordered(infos):
    """Split names: `train`, then the others by name."""
    return sorted(infos, key=lambda name: (name != "train", name))


def offsets(infos):
    """Position of each split's first example, in the order of `ordered`."""
    counts = [infos[name].num_examples for name in ordered(infos)]
    return [int(start) for start in np.cumsum([0, *counts[:-1]])]


def infos(counts):
    """`{name: tfds.core.SplitInfo}` for splits of `counts` examples that TFDS has not prepared."""
    return {
        str(name): tfds.core.SplitInfo(name=str(name), shard_lengths=[int(count)], num_bytes=0)
        for name, count in counts.items()
    }
