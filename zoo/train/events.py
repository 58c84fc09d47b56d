"""Writes the event files of TensorBoard, without TensorFlow."""

import io
import os
import pathlib
import socket
import time
from collections.abc import Mapping
from typing import Any

import numpy as np


class Events:
    """An event file of a run; readers see what was written once `flush` is called.

    Args:
        folder: folder of the file, made if missing.

    Raises:
        ImportError: TensorBoard is not installed.
        OSError: the file cannot be written. The methods raise it, too.
    """

    def __init__(self, folder: str | os.PathLike):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import record_writer

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**6:013d}.{socket.gethostname()}.{os.getpid()}"
        self._records = record_writer.RecordWriter(open(folder / name, "ab"))  # noqa: SIM115, open for the whole run
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes scalars by name."""
        scalars = [self._summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=scalars)))

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Writes a picture, floats in [0, 1], `[H, W, 1]` or `[H, W, 3]`."""
        from PIL import Image

        pixels = np.rint(picture * 255).astype(np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(encoded, "png")
        height, width, channels = pixels.shape
        image = self._summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encoded.getvalue()
        )
        summary = self._summary(value=[self._summary.Value(tag=name, image=image)])
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event):
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Writes buffered events to the file."""
        self._records.flush()

    def close(self) -> None:
        """Closes the file."""
        self._records.close()
