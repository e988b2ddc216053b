"""Runs slices in a process of its own, so that a window has lock and cores to itself when it wants them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from typing import Any, BinaryIO, cast

import numpy.typing as npt

from model_core.base.arrays import VoxelArray
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.processes import answers_alone, end, receive, send, start_python
from model_core.base.results import SliceResult
from model_core.base.volume import Volume
from model_core.engine.kept import packed, unpacked
from model_core.engine.pipeline import Pipeline
from model_core.engine.run import run

_LOG = logging.getLogger(__name__)
# Before the names of FPN maps among the arrays of a message.
_MAP = "map "
_SERVE = "import model_core.engine.elsewhere as e; e.serve()"
# How long slices wait for the process in all, and how often it is asked after.
_PATIENCE_S, _PAUSE_S = 5.0, 0.02
# So many slices are worth a process.
_MANY = 8
# Who else wants a core gets three times as much of it; cancel waits for the slice that runs.
_NICENESS = 5


class SliceRunner:
    """Runs slices one by one: few of them here, many in a process of its own; a context manager that ends it.

    The process has the networks after a second or two: the first slice, which a person waits for, runs here
    meanwhile, the others wait for it, some seconds at most. They run here for good where it cannot be
    started, ends, or has other weights because a file changed, and where torch computes, of which another one
    would take too much memory.

    Attributes
    ----------
    process:
        None until there are many slices.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.process: NetworksProcess | None = None
        self._elsewhere = pipeline.backend.name == "ONNX Runtime"
        self._patience = _PATIENCE_S

    def run(
        self, volume: Volume, index: int, *, waiting: int
    ) -> Generator[Progress | SliceResult, None, None]:
        """Run a slice as `engine.run` does; ``waiting`` more are asked for."""
        # The greys of other volumes hang on more than a slice of them.
        alone = volume.unit == "HU"
        if alone and self.process is not None:
            yield from self._wait(index)
        elif alone and self._elsewhere and waiting >= _MANY:
            self.process = NetworksProcess(self._pipeline)
        if alone and self.process is not None and self.process.ready:
            try:
                yield from self.process.run(volume, index)
            except ConnectionError:
                _LOG.warning("The process of the networks has ended; they run in this one.")
            else:
                return
        yield from run(self._pipeline, volume, (index,))

    def _wait(self, index: int) -> Generator[Progress, None, None]:
        """Wait for a process that is being started: beside its start a slice here would take every core."""
        assert self.process is not None
        while self._patience > 0 and not self.process.ready and self.process.pid:
            yield Progress(0, self._pipeline.passes, f"Slice {index + 1}")
            time.sleep(_PAUSE_S)
            self._patience -= _PAUSE_S

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()

    def __enter__(self) -> SliceRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NetworksProcess:
    """The networks of a pipeline in a process of its own that gives way to all others.

    Parameters
    ----------
    pipeline:
        As `load_pipeline` gave it. The process loads the same files.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._ready = threading.Event()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = start_python(_SERVE, giving_way=True)
        except OSError as error:
            # Its text may hold a path.
            _LOG.warning(
                "No process for the networks can be started (%s); they run in this one.", type(error).__name__
            )
            return
        threading.Thread(target=self._begin, name="ctmasknet-networks", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether slices can be run there now."""
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        """Number of the process while it runs."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process is not None else None

    def run(self, volume: Volume, index: int) -> Generator[Progress | SliceResult, None, None]:
        """Run a slice of a volume in HU as `engine.run` does.

        Raises
        ------
        ConnectionError
            If the process has ended. It is closed then, and so it is where the generator is.
        """
        complete = False
        try:
            self._send(*_request(volume, index))
            while (item := self._answer(volume, index)) is not None:
                yield item
            complete = True
        finally:
            # What is left of an answer would be taken for that to the next request.
            if not complete:
                self.close()

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._ready.clear()
        if self._process is not None:
            end(self._process)

    def _begin(self) -> None:
        """Let the process load the networks, and end it where they are others than here."""
        pipeline, wanted = self._pipeline, self._pipeline.weights_id
        with contextlib.suppress(ConnectionError):
            self._send({"names": list(pipeline.names)})
            if self._receive()[0]["weights_id"] == wanted:
                self._ready.set()
                return
        if not self._closed:
            _LOG.warning("The process of the networks cannot load them; they run in this one.")
            self.close()

    def _answer(self, volume: Volume, index: int) -> Progress | SliceResult | None:
        """Return the next item of what was asked for; None after the last one."""
        values, arrays = self._receive()
        if "progress" in values:
            done, total, text = values["progress"]
            return Progress(done, total, text.replace("Slice 1", f"Slice {index + 1}"))
        if "result" not in values:
            return None
        maps = {level: arrays.pop(_MAP + level) for level in values["levels"]}
        (result,) = unpacked(values["result"], arrays, series_id=volume.series_id)
        return dataclasses.replace(result, slice_index=index, features=maps)

    def _send(self, values: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
        assert self._process is not None
        with _connection():
            send(cast(BinaryIO, self._process.stdin), values, arrays)

    def _receive(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        assert self._process is not None
        with _connection():
            return receive(cast(BinaryIO, self._process.stdout))


@contextlib.contextmanager
def _connection() -> Generator[None, None, None]:
    try:
        yield
    except (OSError, EOFError, ValueError) as error:  # a pipe that was closed is a ValueError
        raise ConnectionError("the process of the networks has ended") from error


def _request(volume: Volume, index: int) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return a slice as a volume of its own, without what only people need."""
    spacing = [None if step is None else float(step) for step in volume.geometry.spacing_mm]
    values = {
        "spacing_mm": spacing,
        "stated_aspect": volume.geometry.stated_aspect,
        "plane": volume.plane,
        "inverted": volume.inverted,
    }
    return values, {"voxels": volume.voxels[index : index + 1]}


def _volume(values: Mapping[str, Any], voxels: VoxelArray) -> Volume:
    """Return the volume of a request."""
    spacing = values["spacing_mm"]
    geometry = Geometry(spacing_mm=tuple(spacing), stated_aspect=values["stated_aspect"])
    return Volume(
        series_id="",
        title="",
        voxels=voxels,
        geometry=geometry,
        plane=values["plane"],
        inverted=values["inverted"],
    )


# --------------------------------------------------------------------------------- inside the process


def serve(niceness: int = _NICENESS) -> None:
    """Load the weights that the standard input names, then run the slices that it brings, until it ends."""
    requests, answers = sys.stdin.buffer, answers_alone()
    with contextlib.suppress(AttributeError, OSError):  # Windows was told when it started the process
        os.nice(niceness)
    from model_core.engine.load import load_pipeline

    with contextlib.suppress(EOFError, BrokenPipeError):
        values, _ = receive(requests)
        pipeline = load_pipeline(values["names"], device="cpu", backend="onnx")
        send(answers, {"weights_id": pipeline.weights_id})
        while True:
            values, arrays = receive(requests)
            for item in run(pipeline, _volume(values, arrays["voxels"]), (0,)):
                if isinstance(item, Progress):
                    send(answers, {"progress": [item.done, item.total, item.text]})
                    continue
                found, arrays = packed([item])
                maps = {_MAP + level: one for level, one in item.features.items()}
                send(answers, {"result": found, "levels": list(item.features)}, {**arrays, **maps})
            send(answers, {})
