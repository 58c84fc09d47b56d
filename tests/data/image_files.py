"""A family of image files: every format, mode and depth that Pillow writes, and what they look like."""

import io
import itertools
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

MODES = (
    "1",
    "L",
    "P",
    "PA",
    "LA",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I;16",
    "I;16B",
    "I",
    "F",
    "La",
    "RGBa",
)
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
SIDES = ((7, 11), (1, 1), (16, 5))


def noise(mode, height, width, seed=0):
    """Returns an image of random pixels of any mode of Pillow."""
    random = np.random.default_rng(seed)
    rgba = Image.fromarray(random.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
    if mode in ("I;16", "I;16B", "I", "F"):
        deep = Image.fromarray(random.integers(0, 65536, (height, width), dtype=np.uint16))
        return deep if mode == "I;16" else deep.convert("I").convert(mode)
    if mode == "PA":
        return rgba.convert("RGB").convert("P").convert("PA")
    if mode == "La":
        return rgba.convert("LA").convert("La")
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(rgba.convert("RGB"), *profiles, outputMode="LAB")
    return (rgba if mode in ("RGBA", "RGBa", "LA") else rgba.convert("RGB")).convert(mode)


def _options(form, mode):
    """Yields the options that the files of a format and a mode are written with."""
    yield {}
    if form == "JPEG":
        yield from ({"quality": 95, "subsampling": part, "progressive": True} for part in (0, 1, 2))
        yield {"keep_rgb": True, "quality": 100}
    if form == "PNG":
        yield {"optimize": True}
        yield from ({"bits": bits} for bits in (1, 2, 4) if mode == "P")
        if mode in ("1", "L", "I;16"):
            yield {"transparency": 0}
        if mode == "P":
            yield {"transparency": bytes(range(256))}
        if mode == "RGB":
            yield {"transparency": (1, 2, 3)}
    if form == "GIF":
        yield {"interlace": 0}
        yield {"transparency": 3}
    if form == "WEBP":
        yield {"lossless": True, "exact": True}
        yield {"quality": 30, "method": 0}
    if form == "TIFF":
        yield from ({"compression": kind} for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"))
        if mode in ("L", "RGB", "YCbCr", "CMYK"):
            yield {"compression": "jpeg"}


def written(image, form, **options):
    """Returns the bytes of a file; None where Pillow does not write this mode."""
    file = io.BytesIO()
    try:
        image.save(file, form, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SystemError):
        return None
    return file.getvalue()


def oriented(number, **more):
    exif = Image.Exif()
    exif[0x0112] = number
    return {"exif": exif, **more}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, depth, kind, *chunks):
    """Returns a PNG file of raw samples, for the depths that Pillow reads but does not write."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    if depth == 16:
        rows = np.ascontiguousarray(rows.astype(">u2")).view(np.uint8)
    elif depth < 8:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=-1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _pngs():
    random = np.random.default_rng(1)
    counts = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    for kind, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            pixels = random.integers(0, 2**depth, (5, 9, counts[kind]))
            palette = [chunk(b"PLTE", random.bytes(3 * 2**depth))] if kind == 3 else []
            yield f"png {kind} {depth}", png(pixels, depth, kind, *palette)
            key = pixels[0, 0].astype(">u2").tobytes()
            key = random.bytes(2**depth) if kind == 3 else key
            if kind in (0, 2, 3):
                yield f"png {kind} {depth} tRNS", png(pixels, depth, kind, *palette, chunk(b"tRNS", key))
            gamma = chunk(b"gAMA", struct.pack(">I", 100000))
            yield f"png {kind} {depth} gAMA", png(pixels, depth, kind, gamma, *palette)


def family():
    """Yields name and bytes of every file of the family."""
    for form, mode, (height, width) in itertools.product(FORMATS, MODES, SIDES):
        for options in _options(form, mode):
            data = written(noise(mode, height, width), form, **options)
            if data is not None:
                yield f"{form} {mode} {height}x{width} {options}"[:90], data
    for form, mode in itertools.product(("JPEG", "PNG", "WEBP", "TIFF"), ("L", "RGB", "RGBA", "CMYK")):
        for number in range(10):
            data = written(
                noise(mode, 4, 6), form, **oriented(number, **({"lossless": True} if form == "WEBP" else {}))
            )
            if data is not None:
                yield f"{form} {mode} orientation {number}", data
    for form, mode in itertools.product(("GIF", "WEBP", "PNG", "TIFF"), ("L", "P", "RGB", "RGBA")):
        first, *others = (noise(mode, 9, 9, seed) for seed in range(3))
        data = written(first, form, save_all=True, append_images=others)
        yield f"{form} {mode} animated", data
    yield from _pngs()


def mutated(data, number, random):
    """Returns a file with a few other bytes, mostly near its beginning; every third is also cut off.

    Args:
        data: bytes of a file.
        number: of the mutation, whose kind follows from it.
        random: `np.random.Generator`.
    """
    changed = bytearray(data)
    if number % 3 == 0:
        changed = changed[: random.integers(len(changed))]
    for _ in range(random.integers(0 if number % 3 == 0 else 1, 5)):
        if changed:
            changed[min(int(random.exponential(30)), len(changed) - 1)] = random.integers(256)
    if number % 3 == 1 and changed[8:16] == b"WEBPVP8X":
        changed[20] = random.integers(256)
    return bytes(changed)


def mutations(count, seed=0):
    """Yields format and bytes of mutated files, `count` of every format that Pillow writes."""
    random = np.random.default_rng(seed)
    files = [(name.split()[0].upper(), data) for name, data in family()]
    for form in FORMATS:
        originals = [data for found, data in files if found == form]
        for number in range(count):
            yield form, mutated(originals[random.integers(len(originals))], number, random)
