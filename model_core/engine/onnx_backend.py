"""`Backend` for a CPU over ONNX Runtime, without torch, whose numbers it gives to 1e-5."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.errors import SettingsError
from model_core.base.results import Candidates
from model_core.base.settings import BOX_POOL, MASK_POOL, ROI_BOX_WEIGHTS
from model_core.base.threads import compute_threads, with_threads_that_give_way
from model_core.engine import roi_align
from model_core.engine.backend import Branch, GradientBackend, Look, Maps
from model_core.engine.boxes import anchors, decode, propose
from model_core.engine.module_s import ModuleS
from model_core.engine.onnx_parts import (
    ALIGN_BOXES,
    ALIGN_MASKS,
    BOXES,
    CLASS_BOXES,
    MAPS,
    MASKS,
    RPN,
    map_names,
)
from model_core.weights.card import ModelCard

# RoIs that are cut out before a head reads them: 12 MB of them stay in the caches of the processor.
_BOXES_AT_ONCE, _MASKS_AT_ONCE = 256, 32


class OnnxBackend:
    """A network as graphs in ONNX Runtime.

    Parameters
    ----------
    graphs:
        Serialised models by part, see `onnx_graph.build_graphs`.
    card:
        Of the weights that the graphs hold.
    head:
        Module S where the network's regions give the class.
    reference:
        Loads the same network where gradients are asked for, which ONNX Runtime has none of.

    Attributes
    ----------
    in_use:
        Whether it has passed its self-test.
    """

    device = "cpu"
    name = "ONNX Runtime"

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        card: ModelCard,
        *,
        head: ModuleS | None = None,
        reference: Callable[[], GradientBackend] | None = None,
    ) -> None:
        self._graphs = dict(graphs)  # until each is a session
        self._lock = threading.Lock()
        self._card = card
        self._head = head
        self._load_reference = reference
        self.in_use = self._compiled = False
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._map_names = map_names(card.architecture)
        self._anchors = functools.lru_cache(maxsize=2)(self._anchors_of)

    def use(self, *, compiled: bool) -> None:
        """Run for good from now on; ``compiled``: wait for the kernels, and keep to them."""
        self.in_use, self._compiled = True, compiled

    def look(self, picture: FloatArray) -> Look:
        """See `Backend.look`."""
        size = len(picture)
        maps = self._maps(picture)
        outputs = self._run(RPN, maps)
        levels = [(outputs[2 * k][0], outputs[2 * k + 1][0]) for k in range(len(self._map_names))]
        grids = tuple(objectness.shape[1:] for objectness, _ in levels)
        proposals = propose(levels, self._anchors(grids, size), self._card.detector, size=size)
        found = {level: one[0] for level, one in maps.items()}
        return Look(size=size, maps=found, proposals=proposals)

    def _maps(self, picture: FloatArray) -> dict[str, FloatArray]:
        planes = np.ones((1, 2, *picture.shape), np.float32)
        planes[0, 0] = picture
        return dict(zip(self._map_names, self._run(MAPS, {"picture": planes}), strict=True))

    def _anchors_of(self, grids: tuple[tuple[int, int], ...], size: int) -> list[FloatArray]:
        shape = self._card.architecture
        return [anchors(shape.anchor_sizes, shape.aspect_ratios, grid, size=size) for grid in grids]

    def regions(self, look: Look, proposals: FloatArray, *, branch: Branch = "detections") -> Candidates:
        """See `Backend.regions`."""
        architecture = self._card.architecture
        part = CLASS_BOXES if branch == "evidence" and architecture.branches == 2 else BOXES
        classes, size = architecture.region_classes, look.size
        outputs = self._box_head(part, self._pooled_maps(look.maps), proposals, size=size)
        logits, deltas = outputs[:, :classes], outputs[:, classes:].reshape(-1, classes, 4)
        boxes = decode(proposals, deltas, ROI_BOX_WEIGHTS, size=size)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        labels = np.tile(np.arange(1, classes, dtype=np.int64), len(proposals))
        return Candidates(
            proposals=np.repeat(proposals, classes - 1, axis=0),
            boxes=boxes[:, 1:].reshape(-1, 4),
            deltas=deltas[:, 1:].reshape(-1, 4),
            scores=scores[:, 1:].reshape(-1),
            logits=logits[:, 1:].reshape(-1),
            labels=labels,
        )

    def _box_head(self, part: str, maps: list[FloatArray], boxes: FloatArray, *, size: int) -> FloatArray:
        """Return (R, C + 4 C) class logits and deltas of boxes on maps (h, w, channels)."""
        outputs = [np.zeros((0, 5 * self._card.architecture.region_classes), np.float32)]
        for start in range(0, len(boxes), _BOXES_AT_ONCE):
            some = np.ascontiguousarray(boxes[start : start + _BOXES_AT_ONCE])
            rois = np.empty((len(some), BOX_POOL**2, maps[0].shape[-1]), np.float32)
            self._align(ALIGN_BOXES, maps, some, rois, size=size)
            outputs += self._run(part, {"rois": rois.reshape(len(some), -1)})
        return np.concatenate(outputs)

    def masks(self, maps: Maps, boxes: FloatArray, labels: IntArray, *, size: int) -> FloatArray:
        """See `Backend.masks`."""
        pooled = self._pooled_maps(maps)
        found = np.empty((len(boxes), MASK_POOL, 2, MASK_POOL, 2), np.float32)
        for start in range(0, len(boxes), _MASKS_AT_ONCE):
            part = slice(start, start + _MASKS_AT_ONCE)
            some, own = np.ascontiguousarray(boxes[part]), labels[part]
            rois = np.empty((len(some), pooled[0].shape[-1], MASK_POOL, MASK_POOL), np.float32)
            flat = rois.reshape(len(some), -1, MASK_POOL**2)
            self._align(ALIGN_MASKS, pooled, some, flat, size=size)
            (logits,) = self._run(MASKS, {"rois": rois})
            # The four logits of a cell come as (row, column, class).
            cells = logits.reshape(len(some), 2, 2, -1, MASK_POOL, MASK_POOL)
            found[part] = cells[np.arange(len(some)), :, :, own].transpose(0, 3, 1, 4, 2)
        return found.reshape(-1, 2 * MASK_POOL, 2 * MASK_POOL)

    def _pooled_maps(self, maps: Maps) -> list[FloatArray]:
        """Return the maps that RoIs are cut from, channels last: all but the pooled one."""
        return [roi_align.channels_last(maps[name]) for name in self._map_names if name != "pool"]

    def _align(
        self, part: str, maps: list[FloatArray], boxes: FloatArray, out: FloatArray, *, size: int
    ) -> None:
        roi_align.align(
            maps,
            boxes,
            out,
            size=size,
            pool=MASK_POOL if part == ALIGN_MASKS else BOX_POOL,
            operator=functools.partial(self._operator, part),
            kernels=roi_align.compiled(wait=True) if self._compiled else None,
            channels_first=part == ALIGN_MASKS,
        )

    def _operator(self, part: str, one: FloatArray, boxes: FloatArray) -> FloatArray:
        """See `roi_align.Operator`."""
        values: dict[str, npt.NDArray[Any]] = {
            "map": np.ascontiguousarray(one.transpose(2, 0, 1))[None],
            "boxes": boxes,
            "of": np.zeros(len(boxes), np.int64),
        }
        return self._run(part, values)[0]

    def _run(self, part: str, values: Mapping[str, npt.NDArray[Any]]) -> list[FloatArray]:
        with self._lock:
            if part not in self._sessions:
                self._sessions[part] = _session(self._graphs.pop(part))
            session = self._sessions[part]
        outputs: list[FloatArray] = session.run(None, dict(values))
        return outputs

    @functools.cached_property
    def _gradients(self) -> GradientBackend:
        if self._load_reference is None:
            raise SettingsError("ONNX Runtime has no gradients: use the backend torch.")
        return self._load_reference()

    def region_cells(
        self, maps: Maps, proposal: FloatArray, label: int, *, size: int, branch: Branch = "detections"
    ) -> tuple[float, FloatArray]:
        """See `GradientBackend.region_cells`; the first call loads torch."""
        return self._gradients.region_cells(maps, proposal, label, size=size, branch=branch)

    def region_gradient(
        self, picture: FloatArray, proposal: FloatArray, label: int, *, branch: Branch = "detections"
    ) -> tuple[float, FloatArray]:
        """See `GradientBackend.region_gradient`; the first call loads torch."""
        return self._gradients.region_gradient(picture, proposal, label, branch=branch)

    def image_head(self, rows: FloatArray) -> FloatArray:
        """See `Backend.image_head`."""
        if self._head is None:
            raise SettingsError(
                "These weights give no image class: choose a classifier or a single-shot model."
            )
        return self._head(rows)

    @property
    def module_s(self) -> ModuleS | None:
        """See `Backend.module_s`."""
        return self._head


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute_threads()
    options.inter_op_num_threads = 1
    # Threads that wait give their core away, as in `base.threads.wait_without_spinning`.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return with_threads_that_give_way(
        lambda: onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    )
