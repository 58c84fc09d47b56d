"""What a published SavedModel answers: features of float images, of image files, and of every level, with gradients.

The module holds the encoder's variables and nothing else of Keras. It follows the contract of reusable SavedModels
(https://www.tensorflow.org/hub/reusable_saved_models): `loaded(images, training=...)`, `loaded.variables`,
`loaded.trainable_variables` and `loaded.regularization_losses`.
"""

import keras
import tensorflow as tf

from zoo.data import images as image_files

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
    # Not every device passes NaN on through a maximum, so it is looked for. An empty batch gives inf and -inf: fine.
    fine = tf.logical_and(tf.greater_equal(lowest, _LOWEST), tf.less_equal(highest, _HIGHEST))
    fine = tf.logical_and(fine, tf.reduce_all(tf.math.is_finite(images)))
    words = ["expected images in [0, 1]. Received: max=", highest, "min=", lowest]
    with tf.control_dependencies([tf.debugging.Assert(fine, words)]):
        return tf.identity(images)


def prepared(data, input_record):
    """One image file as the encoder wants it: decoded like the files of a training folder, cropped, resized.

    Args:
        data: string `[]`, a JPEG, PNG, GIF (its first frame), BMP or WebP file of any size.
        input_record: `input` of the card.

    Returns:
        float32 `[H, W, C]` in [0, 1]. Transparency is laid over white; colour becomes luma for gray encoders, and gray
        three equal channels for colour encoders. Orientation tags are not read.
    """
    height, width, channels = input_record["shape"]
    pixels = tf.cast(image_files.decoded(data, channels), tf.float32) / 255  # [h, w, C]
    if input_record["crop"] == "center":
        rows, columns = tf.shape(pixels)[0], tf.shape(pixels)[1]
        # The largest part in the middle that has the encoder's proportions.
        kept_rows = tf.maximum(tf.minimum(rows, columns * height // width), 1)
        kept_columns = tf.maximum(tf.minimum(columns, rows * width // height), 1)
        top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
        pixels = pixels[top : top + kept_rows, left : left + kept_columns]
    pixels = tf.image.resize(
        pixels, (height, width), method=input_record["interpolation"], antialias=input_record["antialias"]
    )
    # Bicubic kernels overshoot.
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
    pyramid = keras.Model(encoder.input, {**encoder.pyramid_outputs, "embedding": encoder.output})
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
