"""What a published SavedModel answers: features of float images, of image files, and of every level, with gradients.

The module holds the encoder's variables and nothing else of Keras. It follows the contract of reusable SavedModels
(https://www.tensorflow.org/hub/reusable_saved_models): `loaded(images, training=...)`, `loaded.variables`,
`loaded.trainable_variables` and `loaded.regularization_losses`.
"""

import keras
import tensorflow as tf

# Luma of ITU-R BT.601; the weights sum to one, so that gray pictures stay as they are.
_LUMA = (0.299, 0.587, 0.114)
# Room for the overshoot of resizing and augmentation; pixels in 0 ... 255 and standardised ones fall outside.
_LOWEST, _HIGHEST = -1.0, 2.0


def guarded(images):
    """The same images, or `InvalidArgumentError` where they are plainly not in [0, 1] or not finite.

    Args:
        images: float32 `[B, H, W, C]`.

    Returns:
        float32 `[B, H, W, C]`.
    """
    lowest, highest = tf.reduce_min(images), tf.reduce_max(images)
    # Comparisons with NaN are false, and a maximum passes NaN on; an empty batch gives -inf and inf, which pass.
    fine = tf.logical_and(tf.greater_equal(lowest, _LOWEST), tf.less_equal(highest, _HIGHEST))
    fine = tf.logical_and(fine, tf.reduce_all(tf.math.is_finite(images)))
    words = ["expected images in [0, 1]. Received: max=", highest, "min=", lowest]
    with tf.control_dependencies([tf.debugging.Assert(fine, words)]):
        return tf.identity(images)


def _decoded(data):
    """Pixels in [0, 1] of one file with as many channels as it has, float32 `[h, w, 1 ... 4]`."""
    # WebP decodes to bytes only; the other formats to floats, which keeps the 16 bits of a deep PNG.
    is_webp = tf.logical_and(tf.equal(tf.strings.substr(data, 0, 4), "RIFF"), tf.greater(tf.strings.length(data), 12))

    def of_bytes():
        pixels = tf.io.decode_image(data, channels=0, dtype=tf.uint8, expand_animations=False)
        return tf.image.convert_image_dtype(pixels, tf.float32)

    def of_floats():
        return tf.io.decode_image(data, channels=0, dtype=tf.float32, expand_animations=False)

    return tf.cond(is_webp, of_bytes, of_floats)


def prepared(data, input_record):
    """One image file as the encoder wants it.

    Args:
        data: string `[]`, a JPEG, PNG, GIF (its first frame), BMP or WebP file of any size.
        input_record: `input` of the card.

    Returns:
        float32 `[H, W, C]` in [0, 1]. Transparency is dropped; colour becomes luma for gray encoders, and gray becomes
        three equal channels for colour encoders. Orientation tags are not read.
    """
    height, width, channels = input_record["shape"]
    pixels = _decoded(data)
    pixels = tf.ensure_shape(pixels, [None, None, None])
    has_color = tf.greater_equal(tf.shape(pixels)[-1], 3)
    if channels == 1:
        luma = tf.constant(_LUMA)
        pixels = tf.cond(
            has_color,
            lambda: tf.reduce_sum(pixels[..., :3] * luma, axis=-1, keepdims=True),
            lambda: pixels[..., :1],
        )
    else:
        pixels = tf.cond(has_color, lambda: pixels[..., :3], lambda: tf.repeat(pixels[..., :1], 3, axis=-1))
    pixels = tf.ensure_shape(pixels, [None, None, channels])
    pixels = tf.image.resize(
        pixels, (height, width), method=input_record["interpolation"], antialias=input_record["antialias"]
    )
    return tf.ensure_shape(tf.clip_by_value(pixels, 0.0, 1.0), [height, width, channels])


class Reusable(tf.Module):
    """An encoder as a function over TensorFlow variables, to load without Keras, to call and to fine-tune.

    Args:
        encoder: functional `keras.Model` `[B, H, W, C] -> [B, F]`.
    """

    # Plain attributes in place of the properties of tf.Module: loaded objects have only attributes.
    variables = ()
    trainable_variables = ()

    def __init__(self, encoder):
        super().__init__(name="encoder")
        self.variables = [variable.value for variable in encoder.variables]
        self.trainable_variables = [variable.value for variable in encoder.trainable_variables]
        self.regularization_losses = []

        def call(images, training=False):
            return encoder(guarded(images), training=training)

        self.__call__ = tf.function(call)
        images = tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32, name="images")
        for training in (False, True):
            self.__call__.get_concrete_function(images, training=training)


def endpoints(encoder, input_record):
    """The signatures of a published SavedModel, see `zoo.serving.export.export`.

    Args:
        encoder: functional `keras.Model` `[B, H, W, C] -> [B, F]` with `pyramid_outputs`.
        input_record: `input` of the card.

    Returns:
        dict from name to concrete function; their outputs are float32, whatever the precision of the encoder.
    """
    pyramid = keras.Model(encoder.inputs, {**encoder.pyramid_outputs, "embedding": encoder.output})
    shape = input_record["shape"]
    images_spec = tf.TensorSpec([None, *shape], tf.float32, name="images")
    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")

    def serving_default(images):
        return {"embedding": tf.cast(encoder(guarded(images), training=False), tf.float32)}

    def encode_bytes(image_bytes):
        pixels = tf.map_fn(
            lambda data: prepared(data, input_record),
            image_bytes,
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        return {"embedding": tf.cast(encoder(pixels, training=False), tf.float32)}

    def features(images):
        outputs = pyramid(guarded(images), training=False)
        return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}

    return {
        "serving_default": tf.function(serving_default, input_signature=[images_spec]).get_concrete_function(),
        "encode_bytes": tf.function(encode_bytes, input_signature=[bytes_spec]).get_concrete_function(),
        "features": tf.function(features, input_signature=[images_spec]).get_concrete_function(),
    }
