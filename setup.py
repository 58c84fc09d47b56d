"""The zoo as a package: the library, its programs, its experiments and the small encoders it ships."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "zoo" / "__init__.py").read_text(), re.MULTILINE).group(1)

# What both flavours of TensorFlow need beside them.
TRAINING = [
    "tensorflow-datasets>=4.9.10",
    "importlib_resources",  # imported by TFDS, which does not ask for it on current Pythons
    "tensorboard>=2.21",  # TensorFlow no longer brings it
    "scikit-learn>=1.5",
    "scipy>=1.11",
    "threadpoolctl",
    "matplotlib>=3.8",
    "pillow>=10",
]
# The feature server and its client; grpcio comes with TensorFlow, but the client does without that.
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
ICONS = ["resvg_py>=0.5"]
DEVELOPMENT = [
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "ruff>=0.12",
    "mypy>=1.15",
    "build",
    "jax>=0.7",
    "scikit-image",
]
PROGRAMS = ["train", "evaluate", "export", "serve", "views", "data", "bench"]

setuptools.setup(
    name="contrastive-zoo",
    version=VERSION,
    description="Contrastive and multiview representation learning in Keras 3: train, judge, export and load encoders.",
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
    # TensorFlow comes by extra, as with Keras itself: a hard requirement would install a second one beside a CPU build.
    install_requires=["keras>=3.15", "numpy>=1.26", "absl-py>=2.1", "gin-config>=0.5.0", "rich>=13"],
    extras_require={
        "tf": ["tensorflow>=2.21,<2.22", *TRAINING, *SERVING],
        "cpu": CPU,
        # Training without TensorFlow, on arrays that `zoo-data export` wrote where it is installed.
        "jax": ["jax>=0.7", *(each for each in TRAINING if each.startswith(("scikit-learn", "tensorboard", "pillow")))],
        "client": ["protobuf>=6.31", *(each for each in SERVING if each.startswith(("orjson", "grpcio>", "requests")))],
        # Draws the icons that `zoo-data import icons` prepares; the prepared data do not need it.
        "icons": ICONS,
        "dev": [*CPU, *ICONS, *DEVELOPMENT],
    },
    # The folders `tools`, `gin` and `saved_models` of the repository travel inside the package. None but `tools` is
    # Python; `gin` in particular has no __init__.py, which would shadow the library of that name.
    packages=[
        *setuptools.find_packages(include=["zoo", "zoo.*"]),
        *("zoo.tools", "zoo.tools.benches", "zoo.tools.benches.peers", "zoo.gin", "zoo.saved_models"),
    ],
    package_dir={"zoo.tools": "tools", "zoo.gin": "gin", "zoo.saved_models": "saved_models"},
    package_data={"zoo": ["py.typed"], "zoo.gin": ["**/*.gin"], "zoo.saved_models": ["**/*"]},
    entry_points={"console_scripts": [f"zoo-{name} = zoo.tools.{name}:cli" for name in PROGRAMS]},
)
