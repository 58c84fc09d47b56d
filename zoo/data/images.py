"""Encoded images to uint8 tensors of one shape: decode, unify the channels, crop the center, resize."""

import tensorflow as tf

_LUMA = (299, 587, 114)  # thousandths, ITU-R BT.601


def decoded(data: tf.Tensor, channels: int, stored: int | None = None) -> tf.Tensor:
    """Decodes an image to uint8 `[H, W, C]`; an animation yields the first frame.

    Transparent pixels are blended with white. Color images become gray by luma (ITU-R BT.601).

    Args:
        data: bytes of a JPEG, PNG, BMP, GIF or WebP file, string `[]`.
        channels: 1 or 3.
        stored: number of channels to decode, 1 to 4; as many as the file has if None.
    """
    image = tf.io.decode_image(data, channels=stored or 0, expand_animations=False)
    if stored is not None:
        return unified(tf.ensure_shape(image, (None, None, stored)), channels)
    image = tf.ensure_shape(image, (None, None, None))

    def branch(count):
        return lambda: unified(tf.ensure_shape(image, (None, None, count)), channels)

    return tf.switch_case(tf.shape(image)[-1] - 1, [branch(count) for count in range(1, 5)])


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
        image = (tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True) + 500) // 1000
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
