"""The folder that TensorFlow Serving serves: numbered versions, its configuration, and how to start it.

    served/
      models.config  batching.config  monitoring.config  docker-compose.yml  README.md
      NAME/1/        saved_model.pb, variables/, assets.extra/tf_serving_warmup_requests, card.json, ...

`docker compose up` serves it with the official image, `zoo-serve --model=served` without: same paths, same answers.
"""

import base64
import io
import json
import pathlib
import shutil

import numpy as np
from google.protobuf import text_format
from PIL import Image

from zoo import files
from zoo.hub import cards
from zoo.serving import json_tensors, limits, messages_pb2, metrics, repository, rest, servable

BATCHING = "batching.config"
MONITORING = "monitoring.config"
COMPOSE = "docker-compose.yml"
README = "README.md"
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


def check_version(version):
    """The number of a version as TensorFlow Serving reads it; `ValueError` if it is none."""
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version < 2**63:
        raise ValueError(f"deployment: expected a version from 1 to 2**63 - 1. Received: version={version!r}.")
    return version


def place(folder, name, version):
    """Where a version belongs, `folder/name/version`; `ValueError` where there is one already."""
    path = pathlib.Path(folder).absolute() / name / str(check_version(version))
    if path.exists():
        raise ValueError(
            f"deployment: expected a new version. Received: version={version}, which {path.parent} has; versions "
            f"there: {sorted(repository.Model(name, path.parent).versions())}."
        )
    return path


def copy(source, folder, name, version):
    """Copies a model folder as a version, in one step: a server that watches never sees half of it.

    Args:
        source: a model folder.
        folder: the serving folder.
        name: of the model.
        version: its number.

    Returns:
        The path of the version.
    """
    cards.opened(source)
    path = place(folder, name, version)
    with files.folder(path) as new:
        shutil.copytree(source, new, dirs_exist_ok=True)
    return path


def configure(folder):
    """Writes the configuration of all models of a serving folder, and README.md, whose answers are computed.

    Settings that are there already, batching or labels for example, are kept.

    Args:
        folder: the serving folder.

    Returns:
        Names of the models.
    """
    folder = pathlib.Path(folder)
    config = messages_pb2.ModelServerConfig()
    if (folder / repository.CONFIG).is_file():
        config = repository.read_text(folder / repository.CONFIG, messages_pb2.ModelServerConfig)
    there = {entry.name for entry in config.model_config_list.config}
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and repository.Model("", path).versions())
    for name in names:
        if name not in there:
            config.model_config_list.config.add(
                name=name, base_path=f"{repository.MOUNT}/{name}", model_platform="tensorflow"
            )
    files.write(folder / repository.CONFIG, text_format.MessageToString(config))
    for name, message in ((BATCHING, _batching()), (MONITORING, _monitoring())):
        if not (folder / name).exists():
            files.write(folder / name, text_format.MessageToString(message))
    if not (folder / COMPOSE).exists():
        files.write(folder / COMPOSE, _COMPOSE)
    files.write(folder / README, _readme(folder, names))
    return names


def _batching():
    """For CPUs: requests gather while the model is busy, none waits on purpose."""
    message = messages_pb2.BatchingParameters()
    message.max_batch_size.value = 64
    message.batch_timeout_micros.value = 0
    message.max_enqueued_batches.value = 100
    message.num_batch_threads.value = 2
    message.enable_large_batch_splitting.value = True
    return message


def _monitoring():
    message = messages_pb2.MonitoringConfig()
    message.prometheus_config.enable = True
    message.prometheus_config.path = metrics.PATH
    return message


def _example(card):
    """An image file of the size that a model eats: a bright disk on a slope."""
    height, width, channels = card["input"]["shape"]
    y, x = np.mgrid[0:height, 0:width]
    disk = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
    pixels = np.where(disk, 230, 200 * x // width).astype(np.uint8)
    image = Image.fromarray(pixels if channels == 1 else np.repeat(pixels[..., None], 3, axis=-1))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _short(value):
    """JSON with long lists cut, for people."""
    if isinstance(value, list):
        return [_short(each) for each in value[:3]] + (["..."] if len(value) > 3 else [])
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def _readme(folder, names):
    parts = [_HEAD]
    for name in names:
        model = repository.Model(name, folder / name)
        version, path = max(model.wanted().items())
        found = servable.Servable(name, version, path, warm=False)
        if not (path / cards.CARD).is_file() or "encode_bytes" not in found.signatures:
            parts.append(f"## {name}\n\nSignatures: {', '.join(f'`{each}`' for each in found.signatures)}.\n")
            continue  # not of this zoo
        card = cards.read(path)
        example = path.parent / "example.png"
        example.write_bytes(_example(card))
        document = {
            "signature_name": "encode_bytes",
            "instances": [{"b64": base64.b64encode(example.read_bytes()).decode()}],
        }
        signature = found.signature("encode_bytes")
        inputs, rows = json_tensors.arrays(document, signature, limits.Limits())
        answer = json.loads(json_tensors.dumps(found.run(signature, inputs), rows))
        status = rest.status_of({version: repository.State("AVAILABLE")})
        shape = ", ".join(map(str, card["input"]["shape"]))
        parts.append(
            _MODEL.format(
                name=name,
                description=card["description"],
                shape=shape,
                embedding=card["embedding"],
                status=json.dumps(status),
                answer=json.dumps(_short(answer)),
                signatures=", ".join(f"`{each}`" for each in found.signatures),
            )
        )
    return "\n".join(parts)


_HEAD = """\
# Features, served

```bash
docker compose up          # the official image of TensorFlow Serving
zoo-serve --model=.        # the same API without it
```

REST answers on port 8501, gRPC on 8500; health of `zoo-serve` is at `/health/ready`, metrics of both are at
`/monitoring/prometheus/metrics`. A new version is one more numbered folder (`zoo-export --serving --version=2`): it is
loaded beside the present one and takes over. Answers below are cut after three numbers.
"""
_MODEL = """\
## {name}

{description}

Signatures: {signatures}. Images are [{shape}], floats in [0, 1], or files of any size; features are [{embedding}].

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
