"""A stranger's SavedModel executes nothing but computations, unless it is trusted."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from zoo import features
from zoo.engine import graphs
from zoo.serving import servable


def write_file(place, x):
    tf.io.write_file(str(place), "written")
    return x


def python(place, x):
    return tf.ensure_shape(tf.numpy_function(lambda y: (place.write_text("written"), y)[1], [x], tf.float32), x.shape)


def eager_python(place, x):
    return tf.ensure_shape(tf.py_function(lambda y: (place.write_text("written"), y)[1], [x], tf.float32), x.shape)


def printed(place, x):
    tf.print("written", output_stream=f"file://{place}")
    return x


def saved(place, x):
    tf.raw_ops.SaveV2(prefix=str(place), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    return x


def restored(place, x):
    names = {"tensor_names": ["x"], "shape_and_slices": [""]}
    return x + tf.ensure_shape(tf.raw_ops.RestoreV2(prefix=str(place), **names, dtypes=[tf.float32])[0], x.shape)


EFFECTS = {
    "WriteFile": write_file,
    "ReadFile": lambda place, x: x + tf.strings.to_number(tf.io.read_file(str(place))),
    "MatchingFiles": lambda place, x: x + tf.cast(tf.size(tf.io.matching_files(str(place))), tf.float32),
    "PyFunc": python,
    "EagerPyFunc": eager_python,
    "PrintV2": printed,
    "SaveV2": saved,
    "RestoreV2": restored,
    "TextLineDataset": lambda place, x: tf.data.TextLineDataset(str(place)).reduce(x, lambda y, line: y),
    "TFRecordDataset": lambda place, x: tf.data.TFRecordDataset(str(place)).reduce(x, lambda y, line: y),
    "ImmutableConst": lambda place, x: (
        x + tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[4], memory_region_name=str(place))
    ),
}
PLACES = {
    "plain": lambda effect: effect,
    "in a function": lambda effect: tf.function(lambda x: tf.function(effect)(x)),
    "in a branch": lambda effect: lambda x: tf.cond(x[0, 0] > 2, lambda: effect(x), lambda: x),
    "in a loop": lambda effect: lambda x: tf.while_loop(lambda i, y: i < 1, lambda i, y: (i + 1, effect(y)), (0, x))[1],
}


def save(folder, function):
    module = tf.Module()
    spec = tf.TensorSpec([1, 4], tf.float32, "images")
    module.call = tf.function(lambda images: {"embedding": tf.ensure_shape(function(images), [1, 4])}, [spec])
    tf.saved_model.save(module, str(folder), {"serving_default": module.call})


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("effect", EFFECTS)
def test_effects_are_refused_and_not_executed(effect, where, tmp_path):
    place, folder = tmp_path / "place", tmp_path / "model"
    save(folder, PLACES[where](lambda x: EFFECTS[effect](place, x)))
    message = f"a SavedModel that only computes. Received: {folder} with the operations .*{effect}"
    with pytest.raises(ValueError, match=message):
        graphs.load(folder)
    assert not list(tmp_path.glob("place*"))


def test_saver_of_an_older_model_is_refused_since_loading_runs_it(tmp_path):
    save(tmp_path / "model", lambda x: x)
    path = tmp_path / "model/saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    graphs.check(tmp_path / "model")
    model.meta_graphs[0].ClearField("object_graph_def")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="with the operations .*RestoreV2, SaveV2"):
        graphs.load(tmp_path / "model")


def test_evaluation_and_server_refuse_them(tmp_path):
    save(tmp_path / "model", lambda x: EFFECTS["WriteFile"](tmp_path / "place", x))
    with pytest.raises(ValueError, match="only computes"):
        features.Extractor(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="only computes"):
        servable.Servable("m", 1, tmp_path / "model")
    assert not (tmp_path / "place").exists()


def test_what_is_trusted_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "_trusted", set())
    save(tmp_path / "models/1", lambda x: EFFECTS["WriteFile"](tmp_path / "place", x))
    graphs.trust(tmp_path / "models")
    loaded = graphs.load(tmp_path / "models/1")
    loaded.signatures["serving_default"](images=tf.zeros([1, 4]))
    assert (tmp_path / "place").read_text() == "written"


def test_models_of_keras_need_no_trust(tmp_path):
    layers = [
        keras.layers.RandomFlip(),
        keras.layers.Conv2D(4, 3, activation="gelu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Flatten(),
        keras.layers.Reshape((4, -1)),
        keras.layers.LSTM(3),
    ]
    model = keras.Sequential([keras.Input((6, 6, 3)), *layers])
    model.export(tmp_path / "m", verbose=False)
    images = np.random.default_rng(0).random((2, 6, 6, 3), "float32")
    loaded = graphs.load(tmp_path / "m")
    np.testing.assert_allclose(loaded.serve(images), model(images), atol=1e-5)
