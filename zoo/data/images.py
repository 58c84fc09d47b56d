"""Encoded images to uint8 tensors of one shape: decode, unify the channels, crop the center, resize.

The decoder here is for graphs that run without Python: TensorFlow Serving's. It accepts what `decodable` finds safe;
wherever Python runs, `zoo.data.decoding` reads all formats.
"""

from typing import Any

import tensorflow as tf

from zoo.data import decoding

_LUMA = (19595, 38470, 7471)  # of 2**16, ITU-R BT.601, as Pillow has them
_HEAD = 34  # bytes of a file that say what it is
_RECORD = 1024  # bytes of an EXIF record that must hold its orientation
_ORIENTATION = 0x0112
# What stands before an EXIF record, a TIFF file of its own.
_EXIF = {"jpeg": b"Exif\0\0", "png": b"eXIf", "webp": b"EXIF"}
_REFUSED, _JPEG, _GRAY_PNG, _COLOR_PNG, _TRANSPARENT_PNG, _DEEP_PNG, _BMP, _WEBP = range(8)


def decodable(files: tf.Tensor, pixels: int = decoding.PIXELS) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks at the headers of image files, and refuses those that TensorFlow does not read as Pillow does.

    Accepted are JPEG of gray or color, PNG, BMP of 24 bits, and WebP without animation. TensorFlow 2.21 writes beyond
    the buffer of WebP animations without an alpha channel when it chooses the number of channels; it ignores palettes
    of BMP, and transparency of GIF.

    Args:
        files: bytes of image files, string `[B]`.
        pixels: the most that an image may have.

    Returns:
        What `decoded` needs to know: int32 `[B]`, the kinds of file, and int64 `[B]`, the orientations.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for a file that is refused.
    """
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(files, 0, _HEAD), tf.uint8, fixed_length=_HEAD), tf.int64)

    def starts(signature, at=0):
        return tf.reduce_all(head[:, at : at + len(signature)] == list(signature), axis=-1)

    is_of = {
        "jpeg": starts(b"\xff\xd8\xff"),
        "png": starts(b"\x89PNG\r\n\x1a\n"),
        "bmp": starts(b"BM"),
        "webp": starts(b"RIFF") & starts(b"WEBP", 8),
    }
    png, counted_in_png = _png(files, head)
    counts, kinds = (tf.zeros_like(head[:, 0]), tf.fill(tf.shape(files), _REFUSED))
    found = {
        "jpeg": (tf.fill(tf.shape(files), _JPEG), counts),  # counted when it is decoded
        "png": (png, counted_in_png),
        "bmp": _bmp(head),
        "webp": _webp(head, starts),
    }
    for name, (kind, count) in found.items():
        kinds, counts = tf.where(is_of[name], kind, kinds), tf.where(is_of[name], count, counts)
    orientations, is_known = _orientations(files, is_of)
    is_safe = (kinds != _REFUSED) & (counts <= pixels) & is_known
    expected = (
        "expected JPEG (gray or color), PNG, BMP (24 bits) or WebP (no animation) images of a plain orientation and at "
        f"most {pixels} pixels. Received: others at positions"
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_safe), [expected, tf.where(~is_safe)[:, 0]])]):
        return tf.identity(kinds), tf.identity(orientations)


def decoded(
    data: tf.Tensor, kind: tf.Tensor, orientation: tf.Tensor, channels: int, pixels: int = decoding.PIXELS
) -> tf.Tensor:
    """Decodes an image to uint8 `[H, W, C]` as `zoo.data.decoding.decoded` does, by operations of TensorFlow alone.

    Args:
        data: bytes of an image file, string `[]`, that `decodable` accepts.
        kind: of the file, from there.
        orientation: of the image, from there.
        channels: 1 or 3.
        pixels: the most that an image may have.
    """

    def jpeg():
        height, width, count = tf.unstack(tf.io.extract_jpeg_shape(data, tf.int64))
        is_valid = (height * width <= pixels) & ((count == 1) | (count == 3))
        message = [
            f"expected a JPEG image of gray or color and at most {pixels} pixels. Received: shape",
            height,
            width,
        ]
        with tf.control_dependencies([tf.debugging.Assert(is_valid, [*message, count])]):
            # Pillow's method and, for gray, luma of the rounded colors; others would differ by roundings.
            return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")

    def deep():
        wide = tf.cast(tf.io.decode_png(data, channels=1, dtype=tf.uint16), tf.int32)
        return tf.cast((wide + 128) // 257, tf.uint8)

    def webp():
        # The only number of channels that this format accepts is what it has; without an animation that is safe.
        image = tf.io.decode_image(data, channels=0, expand_animations=False)

        def branch(stored):
            return lambda: unified(tf.ensure_shape(image, (None, None, stored)), channels)

        return tf.cond(tf.shape(image)[-1] == 4, branch(4), branch(3))

    readers = {
        _JPEG: jpeg,
        _GRAY_PNG: lambda: tf.io.decode_png(data, channels=1),
        _COLOR_PNG: lambda: tf.io.decode_png(data, channels=3),
        _TRANSPARENT_PNG: lambda: tf.io.decode_png(data, channels=4),
        _DEEP_PNG: deep,
        _BMP: lambda: tf.io.decode_bmp(data, channels=3),
        _WEBP: webp,
    }
    # A number out of range runs the last branch: none of them can choose channels for an animation but that.
    branches = [lambda read=read: unified(read(), channels) for read in readers.values()]
    image = tf.switch_case(tf.ensure_shape(kind, ()) - 1, branches)
    return tf.ensure_shape(_upright(image, orientation), (None, None, channels))


def _png(files, head):
    """Returns kinds and pixels of PNG files, int32 and int64 `[B]`."""
    bits, color = head[:, 24], head[:, 25]
    # A key of transparency stands before the pixels.
    is_keyed = _holds(_before(files, b"IDAT"), b"tRNS")
    # libpng and Pillow differ in how they compare samples of other depths with the key.
    is_agreed = ~is_keyed | (color == 3) | (bits == 8)
    kinds = tf.where(color == 0, _GRAY_PNG, _COLOR_PNG)
    kinds = tf.where((color >= 4) | is_keyed, _TRANSPARENT_PNG, kinds)
    kinds = tf.where((color == 0) & (bits == 16), _DEEP_PNG, kinds)
    return tf.where(is_agreed, kinds, _REFUSED), _number(head[:, 16:20]) * _number(head[:, 20:24])


def _bmp(head):
    """Returns kinds and pixels of BMP files; those of other depths have palettes and masks that TensorFlow ignores."""
    width, height = _number(head[:, 21:17:-1]), _number(head[:, 25:21:-1])
    height = tf.minimum(height, 2**32 - height)  # negative where the first row is the upper one
    is_plain = (_number(head[:, 17:13:-1]) >= 40) & (head[:, 28] == 24) & (_number(head[:, 33:29:-1]) == 0)
    return tf.where(is_plain, _BMP, _REFUSED), height * width


def _webp(head, starts):
    """Returns kinds and pixels of WebP files."""
    is_extended = starts(b"VP8X", 12)
    bits = _number(head[:, 24:20:-1])
    extended = (_number(head[:, 26:23:-1]) + 1) * (_number(head[:, 29:26:-1]) + 1)
    lossless = (bits % 2**14 + 1) * (bits // 2**14 % 2**14 + 1)
    lossy = (_number(head[:, 27:25:-1]) % 2**14) * (_number(head[:, 29:27:-1]) % 2**14)
    is_animated = is_extended & (head[:, 20] // 2 % 2 == 1)
    counts = tf.where(is_extended, extended, tf.where(starts(b"VP8L", 12), lossless, lossy))
    return tf.where(is_animated, _REFUSED, _WEBP), counts


def _number(digits):
    """Returns the numbers that bytes stand for, the highest first, int64 `[..., n]` -> `[...]`."""
    return tf.reduce_sum(digits * [256**power for power in reversed(range(digits.shape[-1]))], axis=-1)


def _before(files, part):
    return tf.strings.split(files, part, maxsplit=1)[:, :1].to_tensor("", shape=(None, 1))[:, 0]


def _behind(files, part):
    """Returns what follows the first `part` of some strings `[B]`; empty strings where there is none."""
    return tf.strings.split(files, part, maxsplit=1)[:, 1:2].to_tensor("", shape=(None, 1))[:, 0]


def _holds(files, part):
    return tf.strings.split(files, part, maxsplit=1).row_lengths() > 1


def _orientations(files: Any, is_of: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the orientations of image files by EXIF, int64 `[B]`, 1 to 8, and whether they are understood.

    Args:
        files: string `[B]`.
        is_of: format -> bool `[B]`.
    """
    # An orientation in XMP counts where EXIF has none; it is rare.
    is_known = ~_holds(files, b"tiff:Orientation") & ~_holds(files, b"Raw profile type exif")
    records = tf.zeros_like(files)
    for name, tag in _EXIF.items():
        found = _behind(tf.where(is_of[name], files, ""), tag)
        if name == "webp":  # behind the size of the part
            found = tf.strings.substr(tf.strings.join([found, "\0" * 4]), 4, _RECORD)
        records = tf.where(is_of[name], tf.strings.substr(found, 0, _RECORD), records)
    records = tf.strings.regex_replace(records, rb"^(Exif\x00\x00){1,2}", b"")
    values = tf.cast(tf.io.decode_raw(records, tf.uint8, fixed_length=_RECORD), tf.int64)
    is_little = tf.reduce_all(values[:, :4] == list(b"II*\0"), axis=-1)
    is_big = tf.reduce_all(values[:, :4] == list(b"MM\0*"), axis=-1)

    def number(digits):
        order = tf.reshape(is_little, [-1] + [1] * (len(digits.shape) - 1))
        return _number(tf.where(order, digits[..., ::-1], digits))

    # The directory may begin anywhere; the usual place is the only one that does not cost a search.
    fields = tf.reshape(values[:, 10 : 10 + 12 * ((_RECORD - 10) // 12)], [-1, (_RECORD - 10) // 12, 12])
    count = number(values[:, 8:10])
    is_field = tf.range(fields.shape[1], dtype=tf.int64) < count[:, None]
    is_wanted = is_field & (number(fields[..., :2]) == _ORIENTATION)
    # A short; all else would be against the standard.
    is_short = (number(fields[..., 2:4]) == 3) & (number(fields[..., 4:8]) == 1)
    value = tf.reduce_sum(tf.where(is_wanted, number(fields[..., 8:10]), 0), axis=-1)
    is_valid = (is_little | is_big) & (number(values[:, 4:8]) == 8) & (count <= fields.shape[1])
    is_valid &= tf.reduce_all(is_short | ~is_wanted, axis=-1) & (tf.reduce_sum(tf.cast(is_wanted, tf.int32), -1) <= 1)
    is_empty = tf.strings.length(records) == 0
    return tf.where((value > 8) | (value < 1), tf.ones_like(value), value), is_known & (is_valid | is_empty)


def _upright(image: Any, orientation: Any) -> Any:
    """Returns uint8 `[H, W, C]` the way up that an orientation of EXIF, 1 to 8, asks for."""

    def turned():
        is_mirrored = tf.reduce_any(orientation == [2, 3, 7, 8])
        is_flipped = tf.reduce_any(orientation == [3, 4, 6, 7])
        result = tf.cond(is_mirrored, lambda: image[:, ::-1], lambda: image)
        result = tf.cond(is_flipped, lambda: result[::-1], lambda: result)
        return tf.cond(orientation >= 5, lambda: tf.transpose(result, [1, 0, 2]), lambda: result)

    return tf.cond(orientation > 1, turned, lambda: image)


def unified(image: tf.Tensor, channels: int) -> tf.Tensor:
    """Converts uint8 images of 1 to 4 channels (gray, gray and alpha, RGB, RGB and alpha) to uint8 `[..., channels]`.

    Args:
        image: uint8 `[..., C]`.
        channels: 1 or 3.
    """
    stored = image.shape[-1]
    if stored == channels:
        return image
    image = tf.cast(image, tf.int32)
    if stored in (2, 4):
        alpha = image[..., -1:]
        image = (image[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255
    if image.shape[-1] == 3 and channels == 1:
        image = (tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True) + 2**15) // 2**16
    if image.shape[-1] == 1 and channels == 3:
        image = tf.repeat(image, 3, axis=-1)
    return tf.cast(image, tf.uint8)


def fitted(images: tf.Tensor, size: int) -> tf.Tensor:
    """Crops the central square of uint8 `[..., H, W, C]` and resizes it to uint8 `[..., size, size, C]`.

    Resizing is bilinear, and antialiased when the square shrinks. The result is the same as that of resizing the
    shorter side first and cropping then.
    """
    if images.shape[-3:-1] == (size, size):
        return images
    height, width = tf.shape(images)[-3], tf.shape(images)[-2]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[..., top : top + side, left : left + side, :]
    images = tf.image.resize(images, (size, size), antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)
