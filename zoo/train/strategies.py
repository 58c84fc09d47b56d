"""Names for the tf.distribute strategies that the loop is tested with."""

import difflib

import tensorflow as tf


def strategy(name="default", tpu=""):
    """A `tf.distribute.Strategy`; make it before any other TensorFlow object.

    Args:
        name: "default" (one device), "mirrored" (every device of this machine), "multi_worker" (several machines, told
            by the environment variable TF_CONFIG) or "tpu".
        tpu: name or address of the TPU, empty for the local one.
    """
    makers = {
        "default": tf.distribute.get_strategy,
        "mirrored": _mirrored,
        "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
        "tpu": lambda: _tpu(tpu),
    }
    if name not in makers:
        close = difflib.get_close_matches(name, makers, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"strategy: expected one of {list(makers)}. Received: name={name!r}.{hint}")
    return makers[name]()


def _mirrored():
    # On a machine without accelerators MirroredStrategy() sees one device; logical CPUs are asked for by name.
    if tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])


def _tpu(address):
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def is_chief(strategy):
    """Whether this process is the one that writes."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    jobs, task, index = resolver.cluster_spec().jobs, resolver.task_type, resolver.task_id
    return not jobs or task == "chief" or (task == "worker" and index == 0 and "chief" not in jobs)
