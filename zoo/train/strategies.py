"""Names for how the devices of a run share the work: `tf.distribute` strategies, or JAX' devices."""

from typing import Any

import keras

from zoo import checks


def strategy(name: str = "default", tpu: str = "") -> Any:
    """A `tf.distribute.Strategy`, to be made before any other TensorFlow object; a list of devices on JAX.

    Args:
        name: "default" (one device), "mirrored" (every device of this machine), "multi_worker" (several machines, told
            by the environment variable TF_CONFIG) or "tpu". JAX has the first two; its devices may be TPUs.
        tpu: name or address of the TPU, empty for the local one.
    """
    makers = _of_jax() if keras.config.backend() == "jax" else _of_tensorflow(tpu)
    checks.one_of("strategy", "name", name, tuple(makers))
    return makers[name]()


def split_cpu(count: int) -> None:
    """Makes this machine's processor count as several devices; before anything else is done with them."""
    if keras.config.backend() == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", count)
        return
    import tensorflow as tf

    parts = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def _of_jax():
    import jax

    return {"default": lambda: jax.devices()[:1], "mirrored": jax.devices}


def _of_tensorflow(tpu):
    import tensorflow as tf

    return {
        "default": tf.distribute.get_strategy,
        "mirrored": _mirrored,
        "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
        "tpu": lambda: _tpu(tpu),
    }


def _mirrored():
    import tensorflow as tf

    # On a machine without accelerators MirroredStrategy() sees one device; logical CPUs are asked for by name.
    if tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])


def _tpu(address):
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def is_chief(strategy: Any) -> bool:
    """Whether this process, of a `tf.distribute.Strategy`, is the one that writes."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    jobs, task, index = resolver.cluster_spec().jobs, resolver.task_type, resolver.task_id
    return not jobs or task == "chief" or (task == "worker" and index == 0 and "chief" not in jobs)
