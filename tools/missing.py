"""Names the extra of the package to install where a program misses a module."""

import os

# Modules that the extras of setup.py bring, by the names that they are imported by.
_JAX = ("jax", "jaxlib", "sklearn", "tensorboard", "PIL")
_CPU = (
    *("tensorflow", "tensorflow_datasets", "importlib_resources", "tensorboard", "sklearn", "scipy", "threadpoolctl"),
    *("matplotlib", "PIL", "uvicorn", "starlette", "orjson", "grpc", "grpc_health", "prometheus_client", "requests"),
    *("google.protobuf",),
)


def advice(error):
    """Returns what to install after an error that a missing module led to; None if none did, or none of an extra.

    Args:
        error: an exception; those that caused it are looked at, too.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        name = getattr(error, "name", None) if isinstance(error, ImportError) else None
        for modules, extra, others in _extras():
            found = next((module for module in modules if f"{name}.".startswith(f"{module}.")), None)
            if found:
                remedy = f"pip install 'contrastive-zoo[{extra}]'{others}"
                return f"import: expected the package of `{found}`. Received: none; {remedy}."
        error = error.__cause__ or error.__context__
    return None


def _extras():
    """Returns modules, their extra, and a remark; the first extra is that of the engine in use."""
    cpu = (_CPU, "cpu", ", or [tf] in place of [cpu] for TensorFlow on GPUs")
    jax = (_JAX, "jax", "")
    return (jax, cpu) if os.environ.get("KERAS_BACKEND") == "jax" else (cpu, jax)
