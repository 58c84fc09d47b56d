"""Requests of image files: counted by their headers before they are decoded, and decoded in parts of bounded work."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from zoo.data import decoding
from zoo.serving import batching, limits, status, turns

# Pixels of a request that joins others in a batch. One of more has calls of its own, which the others do not wait for.
LIGHT = 1_000_000
_PART = 4_000_000  # pixels of such a call, or a single image
_FILES = 16  # whose headers are read in a step
_SCANS = 10  # of a progressive JPEG, as usual; each of them is a pass over all pixels
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


def examined(files: np.ndarray, bounds: limits.Limits) -> turns.Steps[tuple[list[int], list[bool]]]:
    """Reads the headers of image files, `bytes` objects: their pixels, and whether every graph decodes them alike.

    The pixels of a JPEG of many scans count several times. ServingError where a file is no image, or one of too many
    pixels, or where all of them together are too many.
    """
    counts, plain, total = [], [], 0
    for index, data in enumerate(files.ravel()):
        try:
            header = decoding.header(data, bounds.pixels)
        except decoding.Refused as error:
            raise _refused(index, data, error) from error
        if _kind(data) == "WebP" and not header.is_plain and header.pixels > _PART:
            expected = f"an animated WebP of at most {_PART} pixels, since decoding it delays other requests"
            raise status.error(f"Image {index}", expected, header.pixels)
        scans = data.count(b"\xff\xda") if _kind(data) == "JPEG" else 0
        counts.append(header.pixels * max(1, scans // _SCANS))
        plain.append(header.is_plain)
        total += counts[-1]
        if total > bounds.request_pixels:
            received = f"{total}; send fewer images"
            raise status.error(f"Image {index}", f"at most {bounds.request_pixels} pixels in all", received)
        if index % _FILES == _FILES - 1:
            yield
    return counts, plain


def plain(
    files: np.ndarray, is_plain: Sequence[bool], bounds: limits.Limits, first: int = 0
) -> turns.Steps[np.ndarray]:
    """Returns image files in a form that every graph decodes alike and safely: those that are not become PNG.

    ServingError where such a file is broken; `first` is the index of the first file in the request.
    """
    found = np.empty(files.size, object)
    for index, data in enumerate(files.ravel()):
        try:
            found[index] = data if is_plain[index] else decoding.as_png(data, bounds.pixels)
        except decoding.Refused as error:
            raise _refused(first + index, data, error) from error
        if not is_plain[index]:
            yield
    return found.reshape(files.shape)


def blame(files: np.ndarray, bounds: limits.Limits, first: int = 0) -> turns.Steps[None]:
    """Raises a ServingError that names the first file that is broken, and how; none where Pillow decodes them all."""
    for index, data in enumerate(files.ravel()):
        try:
            decoding.rendered(data, 3, bounds.pixels)
        except decoding.Refused as error:
            raise _refused(first + index, data, error) from error
        yield


def _kind(data: bytes) -> str | None:
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)


def _refused(index: int, data: bytes, error: decoding.Refused) -> status.ServingError:
    kind = _kind(data)
    if kind and error.expected == f"a {decoding.NAMES} file":
        return status.error(f"Image {index}", f"a whole {kind} image", f"{len(data)} bytes of a broken or cut header")
    return status.error(f"Image {index}", error.expected, error.received)


def steps(
    run: batching.Run,
    inputs: batching.Arrays,
    name: str,
    counts: Sequence[int],
    is_plain: Sequence[bool],
    rows: int,
    bounds: limits.Limits,
    observe: Callable[[int, float], None],
) -> turns.Steps[batching.Arrays]:
    """Answers a request in calls of a few images; see `turns.Turns`.

    Args:
        run: arrays by name -> arrays by name.
        inputs: arrays by name.
        name: of the image files among them.
        counts: pixels of each file.
        is_plain: of each file, whether every graph decodes it alike.
        rows: of a call at most; 0 where the inputs have no common rows and are not cut.
        bounds: limits of images.
        observe: called with rows and seconds of each call.
    """
    answers = []
    for start, end in _parts(counts, rows) if rows else [(0, len(counts))]:
        part, began = {key: array[start:end] if rows else array for key, array in inputs.items()}, time.perf_counter()
        part[name] = yield from plain(part[name], is_plain[start:end], bounds, start)
        try:
            answers.append(run(part))
        except status.ServingError as error:
            if error.code == "INVALID_ARGUMENT":
                yield from blame(part[name], bounds, start)
            raise
        observe(end - start, time.perf_counter() - began)
        yield
        if rows:
            batching.check_rows(answers[-1], end - start)
    return {key: np.concatenate([answer[key] for answer in answers]) if rows else answers[0][key] for key in answers[0]}


def _parts(counts: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """Yields start and end of at most `rows` images that have at most `_PART` pixels together, or of a single one."""
    start = total = 0
    for index, count in enumerate(counts):
        if index > start and (total + count > _PART or index - start == rows):
            yield start, index
            start, total = index, 0
        total += count
    yield start, len(counts)
