"""The folder that TensorFlow Serving serves: numbered versions, the configuration, and instructions to start it.

    served/
      models.config  batching.config  monitoring.config  docker-compose.yml  README.md
      NAME/1/        saved_model.pb, variables/, assets.extra/tf_serving_warmup_requests, card.json, ...

`docker compose up` serves it with the official image, `zoo-serve --model=served` without: same paths, same answers.
"""

import io
import json
import pathlib
import shutil

import numpy as np
from google.protobuf import text_format
from PIL import Image

from zoo import checks, files
from zoo.hub import cards
from zoo.serving import messages_pb2, metrics, repository, rest, servable, tensors

BATCHING = "batching.config"
MONITORING = "monitoring.config"
COMPOSE = "docker-compose.yml"
README = "README.md"
# For CPUs: requests gather while the model is busy, and none waits on purpose.
_BATCHING = """\
max_batch_size { value: 64 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
enable_large_batch_splitting { value: true }
"""
_MONITORING = f'prometheus_config {{ enable: true path: "{metrics.PATH}" }}\n'
_COMPOSE = f"""\
# The official image of TensorFlow Serving: docker compose up
services:
  serving:
    image: ${{TF_SERVING_IMAGE:-tensorflow/serving:latest}}
    ports:
      - "127.0.0.1:8500:8500"  # gRPC
      - "127.0.0.1:8501:8501"  # REST
    volumes:
      - .:{repository.MOUNT}:ro
    command:
      - --model_config_file={repository.MOUNT}/{repository.CONFIG}
      - --model_config_file_poll_wait_seconds=60
      - --allow_version_labels_for_unavailable_models=true
      - --enable_batching=true
      - --batching_parameters_file={repository.MOUNT}/{BATCHING}
      - --monitoring_config_file={repository.MOUNT}/{MONITORING}
    restart: unless-stopped
"""


def place(folder: str | pathlib.Path, name: str, version: int) -> pathlib.Path:
    """Returns the path of a new version, `folder/name/version`; ValueError for a wrong number, or one that exists."""
    is_valid = checks.is_integer(version) and version < 2**63
    checks.require(is_valid, "deployment", "a version from 1 to 2**63 - 1", version=version)
    path = pathlib.Path(folder).absolute() / name / str(version)
    taken = sorted(repository.Model(name, path.parent).versions())
    checks.require(not path.exists(), "deployment", f"a version other than {taken}", version=version)
    return path


def copy(source: str | pathlib.Path, folder: str | pathlib.Path, name: str, version: int) -> pathlib.Path:
    """Copies a model folder as a version, in one step: a server that watches never sees half of it.

    Args:
        source: the model folder.
        folder: the serving folder, for the rest see `place`.

    Returns:
        The path of the version.
    """
    cards.opened(source)
    path = place(folder, name, version)
    with files.folder(path) as new:
        shutil.copytree(source, new, dirs_exist_ok=True)
    return path


def configure(folder: str | pathlib.Path) -> list[str]:
    """Writes the configuration of all models of a serving folder, and a README.md with computed answers.

    Settings that exist, of batching or labels for example, are kept. Returns the names of the models.
    """
    folder = pathlib.Path(folder)
    config = messages_pb2.ModelServerConfig()
    if (folder / repository.CONFIG).is_file():
        config = repository.read_text(folder / repository.CONFIG, messages_pb2.ModelServerConfig)
    known = {entry.name for entry in config.model_config_list.config}
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and repository.Model("", path).versions())
    for name in names:
        if name not in known:
            base_path = f"{repository.MOUNT}/{name}"
            config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    files.write(folder / repository.CONFIG, text_format.MessageToString(config))
    for name, text in ((BATCHING, _BATCHING), (MONITORING, _MONITORING), (COMPOSE, _COMPOSE)):
        if not (folder / name).exists():
            files.write(folder / name, text)
    files.write(folder / README, "\n".join([_HEAD, *(_section(folder / name) for name in names)]))
    return names


def _section(folder: pathlib.Path) -> str:
    """Returns the part of the README about a model, and writes the image that it sends."""
    version, path = max(repository.Model(folder.name, folder).wanted().items())
    found = servable.Servable(folder.name, version, path, warm=False)
    names = ", ".join(f"`{name}`" for name in found.signatures)
    if not (path / cards.CARD).is_file() or "encode_bytes" not in found.signatures:  # not of this zoo
        return f"## {folder.name}\n\nSignatures: {names}.\n"
    card = cards.read(path)
    example = _example(card["input"]["shape"])
    (folder / "example.png").write_bytes(example)
    embedding = found.run(found.signature("encode_bytes"), {"image_bytes": tensors.strings([example])})["embedding"]
    shown = [round(float(value), 5) for value in embedding[0, :3]] + ["..."] * (card["embedding"] > 3)
    return _MODEL.format(
        name=folder.name,
        description=card["description"],
        shape=", ".join(map(str, card["input"]["shape"])),
        embedding=card["embedding"],
        status=json.dumps(rest.status_of({version: repository.State("AVAILABLE")})),
        answer=json.dumps({"predictions": [shown]}),
        signatures=names,
    )


def _example(shape: list[int]) -> bytes:
    """Returns a PNG file of a size: a bright disk on a slope."""
    height, width, channels = shape
    y, x = np.mgrid[0:height, 0:width]
    disk = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
    pixels = np.where(disk, 230, 200 * x // width).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert("L" if channels == 1 else "RGB").save(file, "PNG")
    return file.getvalue()


_HEAD = """\
# Served encoders

```bash
docker compose up          # the official image of TensorFlow Serving
zoo-serve --model=.        # the same API without it
```

REST answers on port 8501, gRPC on 8500; health of `zoo-serve` is at `/health/ready`, metrics of both are at
`/monitoring/prometheus/metrics`. To update a model, add a numbered folder (`zoo-export --serving --version=2`): it is
loaded beside the present version and then takes over. Answers are shown with their first three numbers.
"""
_MODEL = """\
## {name}

{description}

Signatures: {signatures}. Images are [{shape}], floats in [0, 1], or image files of any size. Features are
[{embedding}].

```bash
curl -s localhost:8501/v1/models/{name}
```

```json
{status}
```

```bash
curl -s localhost:8501/v1/models/{name}:predict \\
    -d '{{"signature_name": "encode_bytes", "instances": [{{"b64": "'$(base64 -w0 {name}/example.png)'"}}]}}'
```

```json
{answer}
```

```python
from zoo.serving import client

with client.Client("grpc://localhost:8500", "{name}") as encoder:
    print(encoder(["{name}/example.png"]).shape)  # (1, {embedding})
```
"""
