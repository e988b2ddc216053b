"""The dense parts of the papers' networks as ONNX graphs, from the entries of a weight file; without torch.

BatchNorm is folded into the convolutions. Three things are written otherwise than in `networks`, with the
same result: the picture is grey, so that the first convolution reads it once and not three times; the first
layer of the box head reads RoIs with their channels last, as `engine.roi_align` gives them; and the
upsampling of the mask branch (2 x 2, stride 2, so that no two of its outputs meet) is a 1 x 1 convolution for
each of the four.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.settings import BOX_POOL, MASK_POOL, Architecture, InputSpec
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

Arrays = Mapping[str, npt.NDArray[Any]]
Floats = FloatArray | DoubleArray

_OPSET = 17
_EPSILON = 1e-5  # of BatchNorm
_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


class _Graph:
    """A graph that grows node by node; values are known by their names."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        out = name or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def constant(self, array: npt.NDArray[Any]) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def entry(self, name: str) -> FloatArray:
        """Return an entry of the weight file."""
        array: FloatArray = self._arrays[name]
        return array

    def has(self, name: str) -> bool:
        return name in self._arrays

    def convolve(self, value: str, weight: Floats, bias: Floats, *, stride: int = 1, name: str = "") -> str:
        """Add a convolution that keeps height and width, but for its stride."""
        inputs = [value, *(self.constant(array.astype(np.float32)) for array in (weight, bias))]
        pad = weight.shape[-1] // 2
        return self.add("Conv", *inputs, name=name, strides=[stride, stride], pads=[pad] * 4)

    def layer(self, value: str, prefix: str, *, name: str = "") -> str:
        """Add a convolution with bias."""
        return self.convolve(value, self.entry(f"{prefix}.weight"), self.entry(f"{prefix}.bias"), name=name)

    def folded(self, convolution: str, norm: str) -> tuple[DoubleArray, DoubleArray]:
        """Return weight and bias of a convolution with its BatchNorm."""
        weight, scale, shift, mean, variance = (
            self.entry(entry).astype(np.float64)
            for entry in (
                f"{convolution}.weight",
                *(f"{norm}.{what}" for what in ("weight", "bias", "running_mean", "running_var")),
            )
        )
        factor = scale / np.sqrt(variance + _EPSILON)
        return weight * factor[:, None, None, None], shift - mean * factor

    def model(self, inputs: Mapping[str, tuple[Any, ...]], outputs: list[str]) -> bytes:
        """Return the serialised model; inputs by name with their shape, where a text is any size."""
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        serialised: bytes = model.SerializeToString()
        return serialised


def build_graphs(architecture: Architecture, spec: InputSpec, arrays: Arrays) -> dict[str, bytes]:
    """Return the serialised model of each part that the network has.

    Raises
    ------
    KeyError
        If an entry is missing.
    """
    graphs = {
        MAPS: _maps(architecture, spec, arrays),
        RPN: _rpn(architecture, arrays),
        BOXES: _boxes(arrays, ""),
        ALIGN_BOXES: _align(BOX_POOL, channels_last=True),
    }
    if architecture.branches == 2:
        graphs[CLASS_BOXES] = _boxes(arrays, "_s2")
    if architecture.has_masks:
        graphs[MASKS] = _masks(arrays)
        graphs[ALIGN_MASKS] = _align(MASK_POOL, channels_last=False)
    return graphs


def _maps(architecture: Architecture, spec: InputSpec, arrays: Arrays) -> bytes:
    """(1, 2, S, S) picture in 0..1 and ones -> the FPN maps."""
    graph = _Graph(arrays)
    weight, bias = graph.folded("backbone.body.conv1", "backbone.body.bn1")
    # The padding of a normalised picture is 0, not the grey that 0 stands for: the mean comes as a channel.
    mean, std = (np.array(values, np.float64)[None, :, None, None] for values in (spec.mean, spec.std))
    grey, ones = (weight / std).sum(axis=1), -(weight * mean / std).sum(axis=1)
    value = graph.add("Relu", graph.convolve("picture", np.stack((grey, ones), axis=1), bias, stride=2))
    value = graph.add("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    stages = []
    for stage, blocks in enumerate(_BLOCKS[architecture.backbone][: 4 - architecture.truncation], start=1):
        for block in range(blocks):
            prefix = f"backbone.body.layer{stage}.{block}"
            value = _block(graph, value, prefix, stride=2 if block == 0 and stage > 1 else 1)
        stages.append(value)
    tapped = stages if architecture.backbone == "resnet50" else stages[-1:]
    above = ""
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32)) if len(tapped) > 1 else ""
    for level in reversed(range(len(tapped))):
        inner = graph.layer(tapped[level], f"backbone.fpn.inner_blocks.{level}.0")
        if above:
            larger = graph.add(
                "Resize",
                above,
                "",
                scales,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            inner = graph.add("Add", inner, larger)
        above = inner
        graph.layer(inner, f"backbone.fpn.layer_blocks.{level}.0", name=str(level))
    names = map_names(architecture)
    if "pool" in names:
        graph.add("MaxPool", names[-2], name="pool", kernel_shape=[1, 1], strides=[2, 2])
    return graph.model({"picture": (1, 2, "S", "S")}, names)


def _block(graph: _Graph, value: str, prefix: str, *, stride: int) -> str:
    """Add a residual block: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 where there is a third."""
    count = 3 if graph.has(f"{prefix}.conv3.weight") else 2
    strided = 2 if count == 3 else 1
    out = value
    for number in range(1, count + 1):
        weight, bias = graph.folded(f"{prefix}.conv{number}", f"{prefix}.bn{number}")
        out = graph.convolve(out, weight, bias, stride=stride if number == strided else 1)
        if number < count:
            out = graph.add("Relu", out)
    if graph.has(f"{prefix}.downsample.0.weight"):
        weight, bias = graph.folded(f"{prefix}.downsample.0", f"{prefix}.downsample.1")
        value = graph.convolve(value, weight, bias, stride=stride)
    return graph.add("Relu", graph.add("Add", out, value))


def _rpn(architecture: Architecture, arrays: Arrays) -> bytes:
    """FPN maps -> for each of them (1, A, h, w) objectness and (1, 4 A, h, w) shifts."""
    graph = _Graph(arrays)
    names, outputs = map_names(architecture), []
    for name in names:
        hidden = graph.add("Relu", graph.layer(name, "rpn.head.conv.0.0"))
        outputs.append(graph.layer(hidden, "rpn.head.cls_logits", name=f"objectness {name}"))
        outputs.append(graph.layer(hidden, "rpn.head.bbox_pred", name=f"shifts {name}"))
    return graph.model({name: (1, "C", f"h{name}", f"w{name}") for name in names}, outputs)


def _boxes(arrays: Arrays, branch: str) -> bytes:
    """(R, 49 * 256) RoIs, channels last -> (R, C + 4 C) class logits and deltas."""
    graph = _Graph(arrays)
    head, predictor = f"roi_heads.box_head{branch}", f"roi_heads.box_predictor{branch}"
    first = graph.entry(f"{head}.fc6.weight")
    bins = BOX_POOL**2
    first = first.reshape(len(first), -1, bins).transpose(2, 1, 0).reshape(-1, len(first))
    second = graph.entry(f"{head}.fc7.weight").T
    last = [graph.entry(f"{predictor}.{name}.weight").T for name in ("cls_score", "bbox_pred")]
    offsets = [graph.entry(f"{predictor}.{name}.bias") for name in ("cls_score", "bbox_pred")]
    layers = (
        (first, graph.entry(f"{head}.fc6.bias")),
        (second, graph.entry(f"{head}.fc7.bias")),
        (np.concatenate(last, axis=1), np.concatenate(offsets)),
    )
    value = "rois"
    for number, (weight, bias) in enumerate(layers):
        final = number == len(layers) - 1
        name = "outputs" if final else ""
        value = graph.add("Gemm", value, graph.constant(weight), graph.constant(bias), name=name)
        if not final:
            value = graph.add("Relu", value)
    return graph.model({"rois": ("R", len(first))}, ["outputs"])


def _masks(arrays: Arrays) -> bytes:
    """(R, 256, 14, 14) RoIs -> (R, 4 C, 14, 14) mask logits, the four of a cell as (row, column, class)."""
    graph = _Graph(arrays)
    value, layer = "rois", 0
    while graph.has(f"roi_heads.mask_head.{layer}.0.weight"):
        value = graph.add("Relu", graph.layer(value, f"roi_heads.mask_head.{layer}.0"))
        layer += 1
    larger = graph.entry("roi_heads.mask_predictor.conv5_mask.weight")  # (in, out, 2, 2)
    channels, width = larger.shape[:2]
    weight = larger.transpose(2, 3, 1, 0).reshape(4 * width, channels, 1, 1)
    bias = np.tile(graph.entry("roi_heads.mask_predictor.conv5_mask.bias"), 4)
    value = graph.add("Relu", graph.convolve(value, weight, bias))
    logits = graph.entry("roi_heads.mask_predictor.mask_fcn_logits.weight")[:, :, 0, 0]
    classes = len(logits)
    each = np.zeros((4, classes, 4, width), np.float32)
    for part in range(4):
        each[part, :, part] = logits
    bias = np.tile(graph.entry("roi_heads.mask_predictor.mask_fcn_logits.bias"), 4)
    graph.convolve(value, each.reshape(4 * classes, 4 * width, 1, 1), bias, name="logits")
    first = graph.entry("roi_heads.mask_head.0.0.weight")
    return graph.model({"rois": ("R", first.shape[1], MASK_POOL, MASK_POOL)}, ["logits"])


def _align(pool: int, *, channels_last: bool) -> bytes:
    """Return RoIAlign: a map, boxes in its cells -> RoIs."""
    graph = _Graph({})
    rois = graph.add(
        "RoiAlign",
        "map",
        "boxes",
        "of",
        name="" if channels_last else "rois",
        mode="avg",
        output_height=pool,
        output_width=pool,
        sampling_ratio=2,
        spatial_scale=1.0,
        coordinate_transformation_mode="output_half_pixel",
    )
    if channels_last:
        graph.add("Transpose", rois, name="rois", perm=[0, 2, 3, 1])
    model = onnx.load_from_string(
        graph.model({"map": (1, "C", "h", "w"), "boxes": ("R", 4), "of": ("R",)}, ["rois"])
    )
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.INT64
    serialised: bytes = model.SerializeToString()
    return serialised
