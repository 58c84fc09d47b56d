"""Named ways to divide a run among devices: `tf.distribute` strategies, or lists of JAX devices."""

from typing import Any

import keras

from zoo import checks


def strategy(name: str = "default", tpu: str = "") -> Any:
    """Returns a `tf.distribute.Strategy`, or a list of devices on JAX; call it before any other TensorFlow function.

    Args:
        name: "default" (one device), "mirrored" (every device of this machine), "multi_worker" (several machines,
            listed in the environment variable TF_CONFIG) or "tpu". JAX supports the first two, on TPUs as well.
        tpu: name or address of the TPU; empty for the local one.

    Raises:
        ValueError: there is no strategy of that name.
    """
    makers = _of_jax() if keras.config.backend() == "jax" else _of_tensorflow(tpu)
    checks.one_of("strategy", "name", name, tuple(makers))
    return makers[name]()


def split_cpu(count: int) -> None:
    """Divides the CPU into `count` logical devices; call it before anything uses a device."""
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

    # Without accelerators MirroredStrategy() uses one device; it takes several logical CPUs only by name.
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
    """Returns whether this process is the one under a `tf.distribute.Strategy` that writes records and checkpoints."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    jobs, task, index = resolver.cluster_spec().jobs, resolver.task_type, resolver.task_id
    return not jobs or task == "chief" or (task == "worker" and index == 0 and "chief" not in jobs)


def workers(strategy: Any) -> tuple[int, int]:
    """Returns the number of processes that train under a `tf.distribute.Strategy`, and the number of this one."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1, 0
    resolver = strategy.cluster_resolver
    sizes = {
        job: resolver.cluster_spec().num_tasks(job)
        for job in ("chief", "worker")
        if job in resolver.cluster_spec().jobs
    }
    # Replicas are numbered chief first.
    before = sizes.get("chief", 0) if resolver.task_type == "worker" else 0
    return max(sum(sizes.values()), 1), before + (resolver.task_id or 0)
