"""Image files to uint8 arrays by Pillow, which says what is right: of every format, mode and depth, or refused."""

import io
import logging
import warnings
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from zoo.data import stores

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
NAMES = "JPEG, PNG, BMP, GIF, WebP or TIFF"
PIXELS = stores.PIXELS
_NEARLY_BLACK = 8  # of 255
_DEPTHS = {"I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16}
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
# Chunks and keywords of PNG that may hold transparency or an orientation, also behind the pixels.
_EXTRAS = (b"tRNS", b"eXIf", b"exif\0", b"xmp\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")

_logger = logging.getLogger("zoo.data")


class Refused(ValueError):
    """An image file that cannot be used.

    Args:
        expected: what it should have been.
        received: what it is.
        remedy: what the owner of the file can do.
    """

    def __init__(self, expected: str, received: str, remedy: str = "repair or remove it"):
        super().__init__(f"expected {expected}. Received: {received}.")
        self.expected, self.received, self.remedy = expected, received, remedy


def decoded(data: bytes, channels: int, pixels: int = PIXELS, white: float | None = None, name: str = "") -> np.ndarray:
    """Decodes an image file to np.uint8 `[H, W, channels]`; see `rendered`."""
    array = np.asarray(rendered(data, channels, pixels, white, name))
    return array[..., None] if channels == 1 else array


def rendered(data: bytes, channels: int, pixels: int = PIXELS, white: float | None = None, name: str = "") -> Any:
    """Decodes an image file to a `PIL.Image.Image` of mode L or RGB as it is meant to be seen.

    An animation yields its first frame. The orientation tag is applied, transparent pixels are blended with white, and
    color becomes gray by luma (ITU-R BT.601). Samples of more than 8 bits are scaled by the depth that the file states.

    Args:
        data: bytes of the file.
        channels: 1 or 3.
        pixels: the most that an image may have.
        white: sample that becomes 255, for gray files of more than 8 bits; None for the one that a file states. Files
            of 32-bit or float samples state none.
        name: of the image, for the warning that it is nearly black.

    Raises:
        Refused: the bytes are no image of a known format, or broken, or too many pixels, or cannot be understood.
    """
    with opened(data, pixels) as image:
        try:
            upright = _upright(image, channels, white)
        except Refused:
            raise
        # The decoders meet broken bytes with errors of nearly every class.
        except Exception as error:
            reason = str(error).strip(" .") or type(error).__name__
            raise Refused(f"a whole {image.format} image", reason) from error
    brightest = np.max(upright.getextrema()) if image.mode in ("I", "F", *_DEPTHS) else 255
    if brightest < _NEARLY_BLACK:
        message = (
            "%s of mode %s is nearly black: its largest value is %d of 255. Pass `white` where it states no depth."
        )
        _logger.warning(message, name or "An image", image.mode, brightest)
    return upright


def opened(data: bytes, pixels: int = PIXELS) -> Any:
    """Opens an image file by its header: a `PIL.Image.Image` whose pixels are not decoded yet.

    Raises:
        Refused: the header is that of no image, or of one of too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit, which is higher; and oddities in tags
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Refused(f"at most {pixels} pixels", str(error)) from error
    except Exception as error:  # as above
        raise Refused(f"a {NAMES} file", f"{len(data)} bytes that are none, starting {data[:8]!r}") from error
    count = image.width * image.height
    if count > pixels:
        raise Refused(f"at most {pixels} pixels", f"{count}; resize it first", "or raise `max_pixels`")
    return image


class Header(NamedTuple):
    """Facts that the header of an image file states.

    Args:
        pixels: width times height.
        is_plain: whether every decoder reads the file alike.
    """

    pixels: int
    is_plain: bool


def header(data: bytes, pixels: int = PIXELS) -> Header:
    """Reads the header of an image file; Refused as `opened` does."""
    with opened(data, pixels) as image:
        return Header(image.width * image.height, _is_plain(image, data))


def as_png(data: bytes, pixels: int = PIXELS) -> bytes:
    """Returns an image file as a PNG file of its decoded pixels in RGB, which every decoder reads alike.

    Args:
        data: bytes of the file.
        pixels: the most that an image may have.

    Raises:
        Refused: see `decoded`.
    """
    file = io.BytesIO()
    # Not by way of an array, whose bytes Pillow would copy without letting other threads run.
    rendered(data, 3, pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def plain(data: bytes, pixels: int = PIXELS) -> bytes:
    """Returns an image file in a form that every decoder reads alike: itself, or as `as_png` does."""
    return bytes(data) if header(data, pixels).is_plain else as_png(data, pixels)


def _is_plain(image: Any, data: bytes) -> bool:
    """Returns whether decoders agree about a file: no animation, orientation, depth, palette or key of transparency."""
    if image.format == "PNG" and any(name in data for name in _EXTRAS):
        return False
    try:
        # Pillow decodes a PNG file to see whether an orientation follows the pixels.
        is_turned = image.format != "PNG" and image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # a broken tag; decoding says what is wrong
        return False
    if is_turned or "transparency" in image.info:
        return False
    match image.format:
        case "JPEG":
            return image.mode in ("L", "RGB")
        case "PNG":
            return image.mode in ("L", "LA", "RGB", "RGBA") and not getattr(image, "is_animated", False)
        case "BMP":
            return image.mode == "RGB" and data[14] >= 40 and data[28] == 24
        case "WEBP":
            return data[12:16] != b"VP8X" or not data[20] & 2
    return False


def _upright(image: Any, channels: int, white: float | None) -> Any:
    """Returns an opened image as `rendered` does."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F", *_DEPTHS):
        image = Image.fromarray(_narrowed(image, white))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        image = canvas
    # Gray by way of RGB, also from modes that have a brightness of their own: one rule for all.
    image = image if image.mode in ("1", "L") else image.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _narrowed(image: Any, white: float | None) -> np.ndarray:
    """Returns the samples of an image of more than 8 bits as np.uint8 `[H, W]`."""
    samples = np.asarray(image).astype(np.float64)
    if white is None:
        white = _white(image)
    if not np.isfinite(samples).all():
        raise Refused("finite samples", "some that are not")
    key = image.info.get("transparency")
    if isinstance(key, int):
        samples = np.where(samples == key, white, samples)
    return np.floor(np.clip(samples / white, 0, 1) * 255 + 0.5).astype(np.uint8)


def _white(image: Any) -> float:
    """Returns the sample that stands for white by the header of an image of more than 8 bits."""
    if image.format == "PNG":
        return 65535.0
    tags = getattr(image, "tag_v2", {})
    values = [tags.get(tag, default) for tag, default in ((_BITS, 0), (_SAMPLE_FORMAT, 1), (_PHOTOMETRIC, 1))]
    bits, kind, meaning = (value[0] if isinstance(value, tuple) else value for value in values)
    if image.mode in _DEPTHS and kind == 1 and meaning == 1 and 8 < bits <= 16:
        return 2.0**bits - 1
    raise Refused(
        "samples of at most 16 bits, or `white`, the sample that is white",
        f"a {image.format} image of mode {image.mode}, {bits} bits, sample format {kind}, photometric {meaning}",
    )
