"""The package: the library, its programs, the experiments' gin files and small pretrained encoders."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "zoo" / "__init__.py").read_text(), re.MULTILINE).group(1)

# Requirements of training with either package of TensorFlow.
TRAINING = [
    "tensorflow-datasets>=4.9.10",
    "importlib_resources",  # imported by TFDS, which does not require it on current versions of Python
    "tensorboard>=2.21",  # no longer a requirement of TensorFlow
    "scikit-learn>=1.5",
    "scipy>=1.11",
    "threadpoolctl",
    "matplotlib>=3.8",
    "pillow>=10",
]
# Requirements of the feature server and its client, which runs without TensorFlow and so needs its own grpcio.
SERVING = [
    "uvicorn>=0.30",
    "starlette>=0.40",
    "orjson>=3.10",
    "grpcio>=1.66",
    "grpcio-health-checking>=1.66",
    "prometheus-client>=0.20",
    "requests>=2.31",
]
CPU = ["tensorflow-cpu>=2.21,<2.22", *TRAINING, *SERVING]
DEVELOPMENT = ["pytest>=8", "pytest-timeout", "pytest-xdist", "ruff>=0.12", "build", "jax>=0.7", "scikit-image"]
PROGRAMS = ["train", "evaluate", "export", "serve", "views", "data", "bench"]

setuptools.setup(
    name="contrastive-zoo",
    version=VERSION,
    description="Contrastive and multiview learning in Keras 3: train, evaluate, export and load encoders.",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    # TensorFlow is an extra, as for Keras: as a requirement it would be installed in addition to a CPU build.
    install_requires=["keras>=3.13", "numpy>=1.26", "absl-py>=2.1", "gin-config>=0.5.0", "rich>=13"],
    extras_require={
        "tf": ["tensorflow>=2.21,<2.22", *TRAINING, *SERVING],
        "cpu": CPU,
        # Training without TensorFlow, on arrays that `zoo-data export` wrote on a machine with TensorFlow.
        "jax": ["jax>=0.7", *(name for name in TRAINING if name.startswith(("scikit-learn", "tensorboard", "pillow")))],
        "client": ["protobuf>=6.31", *(name for name in SERVING if name.startswith(("orjson", "grpcio>", "requests")))],
        "dev": [*CPU, *DEVELOPMENT],
    },
    # The folders `tools`, `gin` and `saved_models` of the repository are installed inside the package. Only `tools`
    # is Python; `gin` must not have an __init__.py, which would shadow the library gin.
    packages=[
        *setuptools.find_packages(include=["zoo", "zoo.*"]),
        *("zoo.tools", "zoo.tools.benches", "zoo.tools.benches.peers", "zoo.gin", "zoo.saved_models"),
    ],
    package_dir={"zoo.tools": "tools", "zoo.gin": "gin", "zoo.saved_models": "saved_models"},
    package_data={"zoo.gin": ["**/*.gin"], "zoo.saved_models": ["**/*"]},
    entry_points={"console_scripts": [f"zoo-{name} = zoo.tools.{name}:cli" for name in PROGRAMS]},
)
