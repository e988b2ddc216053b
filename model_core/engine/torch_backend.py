"""`Backend` over the networks in torch, and the devices there are."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.errors import SettingsError, WeightsError
from model_core.base.results import Candidates
from model_core.engine.backend import Branch, Look, Maps
from model_core.engine.module_s import ModuleS
from model_core.networks import CovidCTMaskNet, ImageHead, MaskRCNN, Undrawn, build
from model_core.networks.region_gradient import region_cells, region_logit
from model_core.weights.store import LoadedWeights


class TorchBackend:
    """A torch network as `Backend`; ``head`` is module S where the network's regions give the class."""

    name = "PyTorch"

    def __init__(
        self, network: MaskRCNN, *, head: ImageHead | ModuleS | None = None, device: str = "cpu"
    ) -> None:
        self.device = device
        self._network = network.eval().to(device)
        # Masks of single detections are computed on demand, off the worker's device.
        self._mask_network = network if device == "cpu" else copy.deepcopy(network).to("cpu")
        self._head = module_s(head) if isinstance(head, ImageHead) else head

    def look(self, picture: FloatArray) -> Look:
        """See `Backend.look`."""
        with torch.inference_mode():
            images = self._images(picture)
            features = self._network.features(images)
            (proposals,) = self._network.propose(images, features)
        maps = {level: _numpy(one[0]) for level, one in features.items()}
        return Look(size=len(picture), maps=maps, proposals=_numpy(proposals))

    def _images(self, picture: FloatArray) -> Tensor:
        return torch.from_numpy(picture).to(self.device).expand(1, 3, -1, -1)

    def regions(self, look: Look, proposals: FloatArray, *, branch: Branch = "detections") -> Candidates:
        """See `Backend.regions`."""
        network = self._network
        run = network.regions
        if branch == "evidence" and isinstance(network, CovidCTMaskNet):
            run = network.class_regions
        with torch.inference_mode():
            # Of the pictures only their size and device are looked at.
            images = torch.empty(1, 1, 1, 1, device=self.device).expand(1, 3, look.size, look.size)
            boxes = torch.from_numpy(proposals).to(self.device)
            (regions,) = run(images, _tensors(look.maps, self.device), [boxes])
        return Candidates(
            proposals=np.repeat(proposals, network.architecture.region_classes - 1, axis=0),
            boxes=_numpy(regions.boxes),
            deltas=_numpy(regions.deltas),
            scores=_numpy(regions.scores),
            logits=_numpy(regions.logits),
            labels=_numpy(regions.labels),
        )

    def masks(self, maps: Maps, boxes: FloatArray, labels: IntArray, *, size: int) -> FloatArray:
        """See `Backend.masks`."""
        with torch.inference_mode():
            logits = self._mask_network.mask_logits(
                _tensors(maps, "cpu"), [torch.from_numpy(boxes)], size=(size, size)
            )
            own: FloatArray = logits[torch.arange(len(boxes)), torch.from_numpy(labels)].numpy()
        return own

    def region_cells(
        self, maps: Maps, proposal: FloatArray, label: int, *, size: int, branch: Branch = "detections"
    ) -> tuple[float, FloatArray]:
        """See `GradientBackend.region_cells`."""
        features, box = _tensors(maps, "cpu"), torch.from_numpy(proposal)
        logit, cells = region_cells(
            self._mask_network, features, box, label, size=size, evidence=branch == "evidence"
        )
        return float(logit), _numpy(cells)

    def region_gradient(
        self, picture: FloatArray, proposal: FloatArray, label: int, *, branch: Branch = "detections"
    ) -> tuple[float, FloatArray]:
        """See `GradientBackend.region_gradient`."""
        leaf = torch.from_numpy(picture).to(self.device).requires_grad_()
        features = self._network.features(leaf.expand(1, 3, -1, -1))
        box = torch.from_numpy(proposal).to(self.device)
        logit = region_logit(
            self._network, features, box, label, size=len(picture), evidence=branch == "evidence"
        )
        (slope,) = torch.autograd.grad(logit, leaf)
        return float(logit.detach()), _numpy(slope)

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


def load_network(weights: LoadedWeights) -> MaskRCNN:
    """Return the network of a weight file, with its entries.

    Raises
    ------
    WeightsError
        If they do not fit the architecture of the card.
    """
    tensors = weights.tensors
    with Undrawn():
        network = build(weights.card.architecture, weights.card.detector, input_spec=weights.card.input)
    own = network.state_dict()
    if wrong := [name for name, t in tensors.items() if name in own and own[name].shape != t.shape]:
        raise WeightsError(
            f"The entries of '{weights.path.name}' do not fit the architecture of its card.",
            details=f"{wrong[0]}: {tuple(tensors[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}",
        )
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    # Files of the first release keep the mask branch in a classifier; frozen BatchNorm has no counters.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    unexpected = [name for name in unexpected if ".mask_" not in name]
    if missing or unexpected:
        found = (("missing", missing), ("too many", unexpected))
        told = [f"{len(names)} {what}, such as '{names[0]}'" for what, names in found if names]
        those = f"The entries of '{weights.path.name}'"
        raise WeightsError(
            f"{those} do not fit the architecture of its card: {'; '.join(told)}.",
            details=f"missing: {missing[:5]}; unexpected: {unexpected[:5]}",
        )
    return network


def module_s(head: ImageHead) -> ModuleS:
    """Return the numbers of a torch module S."""
    return ModuleS(
        tuple(
            (_numpy(layer.weight.detach()), _numpy(layer.bias.detach()))
            for layer in (head.fc_scores, head.fc_scores_2, head.fc_scores_img)
        )
    )


def _tensors(maps: Maps, device: str) -> OrderedDict[str, Tensor]:
    return OrderedDict(
        (level, torch.from_numpy(array).to(device).float()[None]) for level, array in maps.items()
    )


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().contiguous().numpy()


def choose_device(device: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    SettingsError
        If it is unknown or not on this machine.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there:
        raise SettingsError(f"Unknown device '{device}': use auto, cpu, cuda, cuda:N or mps.")
    try:
        index = torch.device(device).index
    except RuntimeError as error:
        raise SettingsError(f"Unknown device '{device}': use auto, cpu, cuda, cuda:N or mps.") from error
    if kind == "cuda" and there[kind] and (index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"There are {torch.cuda.device_count()} CUDA devices, counted from 0: no {device}."
        )
    if not there[kind]:
        raise SettingsError(f"The device '{device}' is not available on this machine; use cpu or auto.")
    return device
