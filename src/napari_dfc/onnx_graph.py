"""A kept network as a graph in ONNX: what `Model.predict` computes with fixed statistics, from raw values to labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_dfc.ensemble import EnsemblePredictor
from napari_dfc.filters import gaussian
from napari_dfc.prediction import FixedNetwork
from napari_dfc.scales import SIGMAS

if TYPE_CHECKING:
    from onnx import ModelProto

    from napari_dfc.model import Model

__all__ = ["IMAGE", "LABELS", "OPSET", "PROBABILITIES", "metadata", "onnx_model"]

#: Names of the input and the outputs.
IMAGE, PROBABILITIES, LABELS = "image", "probabilities", "labels"

#: Versions of ONNX's operators and of its file: old ones, so that old programs read it. Nothing newer is needed.
OPSET, FILE_VERSION = 13, 7

#: Version of what stands in the file's metadata.
FORMAT = 1


def onnx_model(model: Model) -> ModelProto:
    """A network with the statistics of its references, as ONNX.

    Parameters
    ----------
    model : Model

    Returns
    -------
    onnx.ModelProto
        From ``image`` (1, C, H, W) float32, raw values as in the references' files, to ``probabilities`` (1, q, H, W)
        float32, of each channel of the response, and ``labels`` (1, H, W) int64, or uint64 where a class has so large a
        number. H and W are free.

    Raises
    ------
    ValueError
        A brightness scaling that float32 does not hold.

    Notes
    -----
    Nodes are written one by one, not traced: the graph is the same with every version of PyTorch. All is computed in
    float32, which every program and device has.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = _Graph()
    _write_network(graph, model)
    label_type = helper.np_dtype_to_tensor_dtype(_numbers(model).dtype)
    rows, columns = "height", "width"
    made = helper.make_graph(
        [helper.make_node(each.kind, each.inputs, [each.output], **each.attributes) for each in graph.nodes],
        "napari-dfc",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, len(model.offset), rows, columns])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [1, len(model.numbers), rows, columns]),
            helper.make_tensor_value_info(LABELS, label_type, [1, rows, columns]),
        ],
        [numpy_helper.from_array(values, name) for name, values in graph.constants.items()],
    )
    found = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=FILE_VERSION,
        producer_name="napari-dfc",
        producer_version=model.versions.get("napari-dfc", ""),
    )
    helper.set_model_props(found, metadata(model))
    checker.check_model(found, full_check=True)
    return found


def metadata(model: Model) -> dict[str, str]:
    """The essential facts, as text."""
    return {
        "napari_dfc.format": str(FORMAT),
        "napari_dfc.model_sha256": model.digest,
        "napari_dfc.classes": json.dumps(model.legend.as_list()),
        "napari_dfc.channel_classes": json.dumps(list(model.numbers)),
        "napari_dfc.receptive_radius": str(model.receptive_radius),
        "napari_dfc.left_out": json.dumps({"edge_share": model.edge_share}),
    }


def _numbers(model: Model) -> NDArray[Any]:
    """The class number of each channel."""
    return np.array(model.numbers, dtype=np.int64 if max(model.numbers) < 2**63 else np.uint64)


class _Node(NamedTuple):
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class _Graph:
    """Nodes and constants, in the order in which they are made."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, kind: str, *inputs: str | NDArray[Any] | Tensor, name: str = "", **attributes: Any) -> str:
        """Another node; arrays among its inputs become constants. The name of its output."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        names = tuple(each if isinstance(each, str) else self._constant(each) for each in inputs)
        self.nodes.append(_Node(kind, names, output, attributes))
        return output

    def _constant(self, values: NDArray[Any] | Tensor) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(values)
        return name


def _write_network(graph: _Graph, model: Model) -> None:
    """All nodes, from the input to both outputs."""
    image, n_inputs = _scaled(graph, model), len(model.offset)
    predictor = model.predictor()
    if isinstance(predictor, EnsemblePredictor):
        size = graph.add("Slice", graph.add("Shape", image), _whole(2), _whole(4))  # (2,)
        mean = ""
        for each, factor, share in zip(predictor.predictors, predictor.factors, predictor.shares, strict=True):
            small = _shrunken(graph, image, factor, size)
            shares = _enlarged(graph, _probabilities(graph, each.fixed(), small, n_inputs), factor, size)
            weighted = graph.add("Mul", shares, _number(share))
            mean = graph.add("Add", mean, weighted) if mean else weighted
    else:
        mean = _probabilities(graph, predictor.fixed(), image, n_inputs)
    graph.add("Identity", mean, name=PROBABILITIES)
    channel = graph.add("ArgMax", PROBABILITIES, axis=1, keepdims=0)  # (1, H, W)
    graph.add("Gather", _numbers(model), channel, name=LABELS, axis=0)


def _scaled(graph: _Graph, model: Model) -> str:
    """The channels of the image, scaled as those of the references.

    Their offsets are taken away in two steps, since one float32 does not hold all digits of a float64: of a camera with
    a high offset and little contrast the missing ones count.
    """
    with np.errstate(over="ignore", under="ignore"):
        first, scale = (_column(values) for values in (model.offset, model.scale))
        rest = _column(model.offset - model.offset.astype(np.float32))
    if not (np.isfinite(first).all() and np.isfinite(scale).all() and scale.min() >= np.finfo(np.float32).tiny):
        raise ValueError(
            "the brightness of this network's references is beyond what ONNX computes with (float32); train it on "
            "images with values between 1e-30 and 1e30"
        )
    away = graph.add("Sub", IMAGE, first)
    if rest.any():
        away = graph.add("Sub", away, rest)
    return graph.add("Div", away, scale)  # (1, C, H, W)


def _probabilities(graph: _Graph, fixed: FixedNetwork, image: str, n_inputs: int) -> str:
    """What one network says of a scaled image."""
    values = image
    for layer, (kernel, bias) in enumerate(zip(fixed.kernels, fixed.biases, strict=True)):
        if layer:
            values = graph.add("Mul", values, _column(fixed.scales[layer - 1]))
            values = graph.add("Add", values, _column(fixed.shifts[layer - 1]))
        mode = "edge" if fixed.padding == "replicate" else "constant"
        values = graph.add("Relu", graph.add("Conv", _padded(graph, values, 1, 1, mode), kernel, bias))  # (1, p, H, W)
    if not fixed.kernels:
        values = _filtered(graph, image, n_inputs)  # (1, 16 C, H, W)
    away = graph.add("Sub", values, _column(fixed.mean))
    response = graph.add("Conv", away, fixed.slope[:, :, None, None], fixed.shift)  # (1, q, H, W)
    return graph.add("Softmax", response, axis=1)


def _filtered(graph: _Graph, image: str, n_inputs: int) -> str:
    """The fixed features of a scaled image, in the order of `filters.filter_responses`."""
    found = []
    for sigma in SIGMAS:
        kernel = gaussian(sigma).float().expand(n_inputs, 1, -1)  # (C, 1, 2 r + 1)
        radius = kernel.shape[-1] // 2
        smooth = _padded(graph, image, radius, radius, "edge")
        for weights in (kernel[:, :, None, :], kernel[:, :, :, None]):
            smooth = graph.add("Conv", smooth, weights, group=n_inputs)  # (1, C, H, W)
        down, across = _slope(graph, smooth, 2), _slope(graph, smooth, 3)
        by_rows, mixed, by_columns = _slope(graph, down, 2), _slope(graph, down, 3), _slope(graph, across, 3)
        mean = graph.add("Mul", graph.add("Add", by_rows, by_columns), _number(0.5))
        half = graph.add("Mul", graph.add("Sub", by_rows, by_columns), _number(0.5))
        apart = _length(graph, half, mixed)
        found += [smooth, _length(graph, down, across), graph.add("Add", mean, apart), graph.add("Sub", mean, apart)]
    return graph.add("Concat", *found, axis=1)


def _slope(graph: _Graph, values: str, axis: int) -> str:
    """Half the difference of both neighbors along an axis; at a border of the one that there is and the pixel."""
    padded = _padded(graph, values, axis == 2, axis == 3, "edge")
    after = graph.add("Slice", padded, _whole(2), _whole(np.iinfo(np.int64).max), _whole(axis))
    before = graph.add("Slice", padded, _whole(0), _whole(-2), _whole(axis))
    return graph.add("Mul", graph.add("Sub", after, before), _number(0.5))


def _length(graph: _Graph, one: str, other: str) -> str:
    """The root of the sum of both squares."""
    return graph.add("Sqrt", graph.add("Add", graph.add("Mul", one, one), graph.add("Mul", other, other)))


def _shrunken(graph: _Graph, image: str, factor: int, size: str) -> str:
    """The mean over the pixels of each square that lie in the image.

    Programs have not always agreed on the pooling of ONNX that divides by their number (`ceil_mode` without
    `count_include_pad`), so the image, and a one for each pixel, are filled up with zeros.
    """
    if factor == 1:
        return image
    missing = graph.add("Mod", graph.add("Neg", size), _whole(factor))  # rows and columns
    pads = graph.add("Concat", _whole(0, 0, 0, 0, 0, 0), missing, axis=0)
    square: dict[str, Any] = {"kernel_shape": [factor, factor], "strides": [factor, factor]}
    means = graph.add("AveragePool", graph.add("Pad", image, pads), **square)
    ones = graph.add("Expand", _number(1), graph.add("Concat", _whole(1, 1), size, axis=0))
    return graph.add("Div", means, graph.add("AveragePool", graph.add("Pad", ones, pads), **square))


def _enlarged(graph: _Graph, values: str, factor: int, size: str) -> str:
    """Values of squares as values of pixels, linear between the squares' centers."""
    if factor == 1:
        return values
    scales = np.array([1, 1, factor, factor], dtype=np.float32)
    larger = graph.add(
        "Resize", values, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
    )  # "": no region of interest
    return graph.add("Slice", larger, _whole(0, 0), size, _whole(2, 3))


def _padded(graph: _Graph, values: str, rows: int, columns: int, mode: str) -> str:
    return graph.add("Pad", values, _whole(0, 0, rows, columns, 0, 0, rows, columns), mode=mode)


def _whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, dtype=np.float32)


def _column(values: NDArray[np.float64] | Tensor) -> NDArray[np.float32]:
    """One number for each channel of (1, C, H, W)."""
    return np.asarray(values).astype(np.float32)[:, None, None]
