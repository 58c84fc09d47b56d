"""The functions of a published SavedModel: features of float images, of image files, and of every level.

The module holds the encoder's variables and nothing else of Keras. It follows the contract of reusable SavedModels
(https://www.tensorflow.org/hub/reusable_saved_models): `loaded(images, training=...)`, `loaded.variables`,
`loaded.trainable_variables` and `loaded.regularization_losses`.
"""

from typing import Any

import keras
import tensorflow as tf

from zoo.data import images as image_files

# Room for the overshoot of resizing and augmentation; pixels in [0, 255] and standardized ones fall outside.
_LOWEST, _HIGHEST = -1.0, 2.0


def guarded(images: Any) -> Any:
    """Returns float32 images `[B, H, W, C]` unchanged; InvalidArgumentError where they are not in [0, 1] or finite."""
    lowest, highest = tf.reduce_min(images), tf.reduce_max(images)
    # Some devices lose NaN in a maximum, so it is looked for. An empty batch gives inf and -inf, which pass.
    is_valid = tf.logical_and(tf.greater_equal(lowest, _LOWEST), tf.less_equal(highest, _HIGHEST))
    is_valid = tf.logical_and(is_valid, tf.reduce_all(tf.math.is_finite(images)))
    message = ["expected images in [0, 1]. Received: max=", highest, "min=", lowest]
    with tf.control_dependencies([tf.debugging.Assert(is_valid, message)]):
        return tf.identity(images)


def prepared(files: Any, input_record: dict[str, Any]) -> Any:
    """Returns image files as the encoder takes them: decoded like the files of a training folder, cropped, resized.

    Args:
        files: string `[B]`, image files of any size that `zoo.data.images.decodable` accepts.
        input_record: `input` of the card.

    Returns:
        float32 `[B, H, W, C]` in [0, 1]. Orientation tags are applied. Transparency is laid over white; color becomes
        luma for gray encoders, and gray three equal channels for color encoders.
    """
    spec = tf.TensorSpec(input_record["shape"], tf.float32)
    kinds, orientations = image_files.decodable(files)
    channels = input_record["shape"][-1]

    def one_image(inputs: Any) -> Any:
        data, kind, orientation = inputs
        return _resized(image_files.decoded(data, kind, orientation, channels), input_record)

    return tf.map_fn(one_image, (files, kinds, orientations), fn_output_signature=spec)


def _resized(pixels: Any, input_record: dict[str, Any]) -> Any:
    """Returns pixels, uint8 `[h, w, C]`, as float32 `[H, W, C]` in [0, 1]."""
    height, width, channels = input_record["shape"]
    pixels = tf.cast(pixels, tf.float32) / 255
    if input_record["crop"] == "center":
        rows, columns = tf.shape(pixels)[0], tf.shape(pixels)[1]
        # The largest part in the middle that has the encoder's proportions.
        kept_rows = tf.maximum(tf.minimum(rows, columns * height // width), 1)
        kept_columns = tf.maximum(tf.minimum(columns, rows * width // height), 1)
        top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
        pixels = pixels[top : top + kept_rows, left : left + kept_columns]
    method, antialias = input_record["interpolation"], input_record["antialias"]
    pixels = tf.image.resize(pixels, (height, width), method=method, antialias=antialias)
    # Bicubic kernels overshoot.
    return tf.ensure_shape(tf.clip_by_value(pixels, 0.0, 1.0), [height, width, channels])


class Reusable(tf.Module):
    """An encoder as a function over TensorFlow variables, to load without Keras, to call and to fine-tune.

    Args:
        encoder: functional `keras.Model` `[B, H, W, C] -> [B, F]`.
    """

    # Plain attributes replace the properties of tf.Module: loaded objects have only attributes.
    variables: Any = ()
    trainable_variables: Any = ()

    def __init__(self, encoder: keras.Model):
        super().__init__(name="encoder")
        self.variables = [variable.value for variable in encoder.variables]
        self.trainable_variables = [variable.value for variable in encoder.trainable_variables]
        self.regularization_losses: list = []

        def call(images: Any, training: bool = False) -> Any:
            return encoder(guarded(images), training=training)

        self.__call__ = tf.function(call)
        images = tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32, name="images")
        for training in (False, True):
            self.__call__.get_concrete_function(images, training=training)


def endpoints(encoder: keras.Model, input_record: dict[str, Any]) -> dict[str, Any]:
    """Returns the signatures of a published SavedModel, see `zoo.serving.export.export`.

    Args:
        encoder: functional `keras.Model` `[B, H, W, C] -> [B, F]` with `pyramid_outputs`.
        input_record: `input` of the card.

    Returns:
        Concrete functions by name; their outputs are float32, whatever the precision of the encoder.
    """
    pyramid = keras.Model(encoder.input, {**encoder.pyramid_outputs, "embedding": encoder.output})
    shape = input_record["shape"]

    def serving_default(images: Any) -> Any:
        return {"embedding": tf.cast(encoder(guarded(images), training=False), tf.float32)}

    def encode_bytes(image_bytes: Any) -> Any:
        pixels = prepared(image_bytes, input_record)
        return {"embedding": tf.cast(encoder(pixels, training=False), tf.float32)}

    def features(images: Any) -> Any:
        outputs = pyramid(guarded(images), training=False)
        return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}

    images, files = tf.TensorSpec([None, *shape], tf.float32, "images"), tf.TensorSpec([None], tf.string, "image_bytes")
    functions = ((serving_default, images), (encode_bytes, files), (features, images))
    return {
        function.__name__: tf.function(function, input_signature=[spec]).get_concrete_function()
        for function, spec in functions
    }
