"""From weight files to a `Pipeline`; picks what computes. torch is imported where it is what computes."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_core.base.errors import SettingsError, WeightsError
from model_core.base.settings import BACKEND_VARIABLE, BACKENDS, BackendChoice
from model_core.engine.module_s import ModuleS
from model_core.engine.pipeline import Pipeline
from model_core.weights.card import former_settings
from model_core.weights.store import (
    LoadedWeights,
    default_names,
    find_base,
    load_weights,
    same_detector,
)

if TYPE_CHECKING:
    from model_core.engine.backend import Backend

_LOG = logging.getLogger(__name__)

_MODULE_S = "s2new."
_LAYERS = ("fc_scores", "fc_scores_2", "fc_scores_img")


def load_pipeline(names: Sequence[str] = (), *, device: str = "auto", backend: str = "auto") -> Pipeline:
    """Load the weights of these names or files; none means the shipped default.

    One single-shot file; one segmentation file (no image class); a segmentation and a classifier file in
    any order; or a classifier alone. Of one that stores module S alone the segmentation file is found by its
    hash; one that is whole, as released, computes the class, and masks come from the default segmentation
    weights, in a pass of their own.

    Parameters
    ----------
    device:
        ``auto`` (a CUDA device where there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    backend:
        What computes on a CPU: ``onnx`` (ONNX Runtime), ``torch``, or ``auto``: what the environment variable
        CTMASKNET_BACKEND says, else ONNX Runtime where it passes its self-test. Other devices are torch's.

    Raises
    ------
    WeightsError
        If a file is missing or damaged, or the files do not go together.
    SettingsError
        If the device or backend does not exist, or ONNX Runtime was asked for and cannot be used.
    """
    wanted = chosen_backend(backend)
    loaded = [load_weights(name) for name in (names or default_names())]
    by_kind = {weights.card.kind: weights for weights in loaded}
    if len(by_kind) != len(loaded) or ("single_shot" in by_kind and len(loaded) > 1):
        raise WeightsError(
            "Give one single-shot file, or one segmentation and one classifier file; found: "
            + ", ".join(f"{w.card.name} ({w.card.kind.replace('_', '-')})" for w in loaded)
            + "."
        )
    make = _Maker(device, wanted)
    if "single_shot" in by_kind:
        pipeline = _single_shot(by_kind["single_shot"], make)
    else:
        classifier = by_kind.get("classifier")
        if "segmentation" not in by_kind:
            assert classifier is not None
            by_kind["segmentation"] = _masks_for(classifier)
        pipeline = _pair(by_kind["segmentation"], classifier, make)
    pipeline.names = tuple(names)
    pipeline.backend_note = make.note
    if told := former_settings(pipeline.cards):
        _LOG.warning(told)
    return pipeline


def chosen_backend(backend: str = "auto") -> BackendChoice:
    """Return what is to compute: as given, or what the environment says.

    Raises
    ------
    SettingsError
        If there is no such backend.
    """
    given, where = backend, "Unknown backend"
    if backend == "auto" and (variable := os.environ.get(BACKEND_VARIABLE, "").strip().lower()):
        given, where = variable, f"The environment variable {BACKEND_VARIABLE} names the unknown backend"
    for choice in BACKENDS:
        if given == choice:
            return choice
    raise SettingsError(f"{where} '{given}': use {', '.join(BACKENDS)}.")


class _Maker:
    """Makes backends of the chosen kind; ``note`` says why it is another than a person may expect."""

    def __init__(self, device: str, backend: BackendChoice) -> None:
        self.note = ""
        self._device = device
        if device == "auto" and not _has_accelerator():
            self._device = "cpu"
        if self._device != "cpu":
            from model_core.engine.torch_backend import choose_device

            self._device = choose_device(self._device)
        self._asked = backend == "onnx"
        if self._asked and self._device != "cpu":
            raise SettingsError(f"ONNX Runtime computes on the CPU here, not on '{self._device}': use cpu.")
        self._onnx = self._device == "cpu" and backend != "torch"
        if self._onnx and importlib.util.find_spec("onnxruntime") is None:
            self._refuse("it is not installed")

    def __call__(self, weights: LoadedWeights, head: ModuleS | None = None) -> Backend:
        if self._onnx:
            try:
                from model_core.engine.prepared import Unusable, open_onnx
            except ImportError as error:  # there, but broken, as without the libraries that it needs
                self._refuse(f"it cannot be loaded ({error})")
            else:
                try:
                    return open_onnx(weights, head)
                except Unusable as error:
                    self._refuse(str(error))
        from model_core.engine.torch_backend import TorchBackend, load_network

        return TorchBackend(load_network(weights), head=head, device=self._device)

    def _refuse(self, why: str) -> None:
        if self._asked:
            raise SettingsError(f"ONNX Runtime cannot be used here: {why}. Use the backend torch or auto.")
        self._onnx = False
        self.note = f"PyTorch computes instead of ONNX Runtime: {why}."
        _LOG.warning(self.note)


def _has_accelerator() -> bool:
    """Whether torch may find a device to compute on; asked of the drivers, because torch takes seconds."""
    if Path("/dev/kfd").exists():  # ROCm
        return True
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def _masks_for(classifier: LoadedWeights) -> LoadedWeights:
    """Return segmentation weights to run beside a classifier that was given alone."""
    whole = any(not name.startswith(_MODULE_S) for name in classifier.arrays)
    if not whole or classifier.card.base_sha256:
        return load_weights(str(find_base(classifier)))
    for name in default_names():
        if (weights := load_weights(name)).card.kind == "segmentation":
            _LOG.warning(
                "%s has no mask branch: it gives the class; masks are those of %s.",
                classifier.card.name,
                weights.card.name,
            )
            return weights
    raise WeightsError(
        f"The classifier '{classifier.card.name}' has no mask branch, and no segmentation weights are "
        "installed. Give a segmentation file as well."
    )


def _single_shot(weights: LoadedWeights, make: Callable[..., Backend]) -> Pipeline:
    return Pipeline(backend=make(weights, _head(weights)), cards=(weights.card,), has_class=True)


def _pair(
    segmentation: LoadedWeights, classifier: LoadedWeights | None, make: Callable[..., Backend]
) -> Pipeline:
    if classifier is None:
        return Pipeline(backend=make(segmentation), cards=(segmentation.card,))
    own_detector = [name for name in classifier.arrays if not name.startswith(_MODULE_S)]
    if not own_detector and classifier.card.base_sha256 not in ("", segmentation.card.sha256):
        raise WeightsError(
            f"The classifier '{classifier.card.name}' was trained on other segmentation weights than "
            f"'{segmentation.card.name}'; its verdict would mean nothing."
        )
    same_input = classifier.card.input == segmentation.card.input
    if not own_detector and not same_input:
        raise WeightsError(
            f"The classifier '{classifier.card.name}' was trained on another input size or window than "
            f"'{segmentation.card.name}' has."
        )
    same_rpn = classifier.card.detector == segmentation.card.detector
    cards, head = (segmentation.card, classifier.card), _head(classifier)
    if own_detector and not (
        same_input and same_rpn and same_detector(segmentation.arrays, classifier.arrays)
    ):
        evidence = make(classifier, head)
        return Pipeline(backend=make(segmentation), cards=cards, evidence_backend=evidence, has_class=True)
    return Pipeline(backend=make(segmentation, head), cards=cards, has_class=True)


def _head(weights: LoadedWeights) -> ModuleS:
    architecture = weights.card.architecture
    inputs = 5 * architecture.roi_batch_size
    layers = []
    for name, outputs in zip(
        _LAYERS, (architecture.s_width, architecture.s_width, architecture.image_classes), strict=True
    ):
        weight, bias = (weights.arrays.get(f"{_MODULE_S}{name}.{what}") for what in ("weight", "bias"))
        if weight is None or bias is None or weight.shape != (outputs, inputs) or bias.shape != (outputs,):
            found = "missing" if weight is None or bias is None else f"{weight.shape}, {bias.shape}"
            raise WeightsError(
                f"Module S of '{weights.path.name}' does not fit its card.",
                details=f"{name}: {found}; wanted {(outputs, inputs)}, {(outputs,)}",
            )
        layers.append((np.ascontiguousarray(weight), np.ascontiguousarray(bias)))
        inputs = outputs
    return ModuleS(tuple(layers))
