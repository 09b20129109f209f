"""An ONNX file as bytes: read, and checked against its manifest without any runtime.

The checks hold what a hash cannot: that a file the operator gave has the tensors the code will feed and read, and
that it neither reads other files nor runs operators that are not ONNX's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from core.errors import ModelError
from core.inference.manifest import ModelManifest, TensorSpec

# The newest operator set of the default domain that ONNX Runtime 1.31 loads; its loader names the number.
LARGEST_OPSET = 26
STANDARD_DOMAINS = ("", "ai.onnx")
# Bits of one number in `raw_data`, of the types that weights have.
ITEM_BITS: Mapping[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.DOUBLE: 64,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.BOOL: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
}
EMAP_SHAPE = (512, 512)  # inswapper's map from embeddings to its own identity vectors
FULL_HINT = "download it again"
# How files that are not models begin, as downloads that went wrong leave them.
NOT_MODELS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"<", "a web page, not a model"),
    (b"PK\x03\x04", "a zip archive, not an ONNX file"),
)


def parse_onnx(data: bytes) -> onnx.ModelProto:
    """The model; `ModelError` when `data` is not one."""
    for start, what in NOT_MODELS:
        if data[:64].lstrip().startswith(start):
            raise ModelError(f"not an ONNX file: it is {what}")
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError("not an ONNX file, or cut off") from error


def check_model(data: bytes, manifest: ModelManifest) -> onnx.ModelProto:
    """The model in `data`, when it is what the manifest describes.

    Raises `ModelError` for a file that is cut off, holds no ONNX graph, keeps weights in another file, uses operators
    outside the standard or newer than LARGEST_OPSET, or whose inputs, outputs or (inswapper) last initializer differ
    from the manifest's; the line says what was expected.
    """
    where = f"model {manifest.id}"
    if manifest.size_bytes is not None and len(data) < manifest.size_bytes and manifest.sha256 is not None:
        short = f"; the published file has {manifest.size_bytes} bytes, this one {len(data)}"
    else:
        short = ""
    try:
        model = parse_onnx(data)
    except ModelError as error:
        raise ModelError(f"{error.what}{short}", where=where, hint=FULL_HINT) from error
    if not model.graph.node:
        raise ModelError(f"not an ONNX file: no nodes{short}", where=where, hint=FULL_HINT)
    check_safety(model, where)
    check_tensors(model, manifest)
    if manifest.swap is not None and manifest.swap.identity == "emap":
        _check_emap(model, where)
    return model


def check_safety(model: onnx.ModelProto, where: str) -> None:
    """`ModelError` when the model needs another file, operators outside the standard, or a newer operator set."""
    foreign: set[str] = set()
    for graph in _graphs(model.graph):
        tensors = [*graph.initializer]
        tensors += [item.t for node in graph.node for item in node.attribute if item.HasField("t")]
        tensors += [tensor for node in graph.node for item in node.attribute for tensor in item.tensors]
        if any(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
            raise ModelError("weights in another file", where=where, hint="only models in one file are loaded")
        sparse = any(
            item.HasField("sparse_tensor") or item.sparse_tensors for node in graph.node for item in node.attribute
        )
        if sparse or graph.sparse_initializer:
            raise ModelError("weights in sparse form", where=where, hint="export it with dense weights")
        for tensor in tensors:
            _check_length(tensor, where)
        foreign |= {node.domain for node in graph.node if node.domain not in STANDARD_DOMAINS}
    if foreign or model.functions:
        names = ", ".join(sorted(foreign)) or "local functions"
        raise ModelError(f"operators outside the standard: {names}", where=where, hint="export it with ONNX's own")
    if model.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"written in ONNX's format {model.ir_version}, {onnx.IR_VERSION} is the newest that is read here",
            where=where,
            hint="export it again with an older exporter",
        )
    opset = max((item.version for item in model.opset_import if item.domain in STANDARD_DOMAINS), default=1)
    if opset > LARGEST_OPSET:
        raise ModelError(
            f"written for operator set {opset}, {LARGEST_OPSET} is the newest that runs here",
            where=where,
            hint=f"export it for operator set {LARGEST_OPSET} or older",
        )


def check_tensors(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """`ModelError` unless the graph's inputs and outputs are the manifest's.

    The first axis of an input is one item or any number of them; that of an output counts items, or the anchors of all
    of them. Other axes also fit where the manifest or the file leaves them free.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    found = {value.name: value for value in inputs}
    if set(found) != {spec.name for spec in manifest.inputs}:
        raise _other_tensors("inputs", inputs, manifest.inputs, manifest)
    for spec in manifest.inputs:
        if not _fits(found[spec.name], spec):
            raise _other_tensors("inputs", inputs, manifest.inputs, manifest)
        first = next(iter(found[spec.name].type.tensor_type.shape.dim), None)
        if first is not None and first.HasField("dim_value") and first.dim_value != 1 and not manifest.embedded:
            raise ModelError(
                f"its input {spec.name} is made for batches of {first.dim_value}",
                where=f"model {manifest.id}",
                hint="give the file as published, for one item or any number of them",
            )
    output_names(model, manifest)


def output_names(model: onnx.ModelProto, manifest: ModelManifest) -> list[str]:
    """What the file calls the manifest's outputs, in the manifest's order.

    Exporters choose the names of outputs and nobody feeds them: where the file has none of the manifest's names, its
    outputs are taken in order, as long as their shapes fit. `ModelError` otherwise.
    """
    outputs = {value.name: value for value in model.graph.output}
    names = match_outputs(list(outputs), [spec.name for spec in manifest.outputs])
    pairs = zip(names, manifest.outputs, strict=True)
    if not all(name in outputs and _fits(outputs[name], spec) for name, spec in pairs):
        raise _other_tensors("outputs", list(outputs.values()), manifest.outputs, manifest)
    return names


def match_outputs(have: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The names in `have` of the outputs `wanted`: the same, or the first ones where none of them is there."""
    return list(wanted) if set(wanted) & set(have) or len(have) < len(wanted) else list(have[: len(wanted)])


def _fits(value: onnx.ValueInfoProto, spec: TensorSpec) -> bool:
    tensor = value.type.tensor_type
    if tensor.elem_type != TensorProto.DataType.Value(_type_name(spec.dtype)):
        return False
    if not tensor.HasField("shape"):
        return True
    dims = list(tensor.shape.dim)
    if len(dims) != len(spec.shape):
        return False
    pairs = list(zip(dims, spec.shape, strict=True))[1:]
    return all(
        not isinstance(want, int) or not dim.HasField("dim_value") or dim.dim_value == want for dim, want in pairs
    )


def _type_name(dtype: str) -> str:
    return {"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16", "int64": "INT64"}.get(dtype, "UNDEFINED")


def _other_tensors(
    kind: str, found: Sequence[onnx.ValueInfoProto], wanted: Sequence[TensorSpec], manifest: ModelManifest
) -> ModelError:
    expected = ", ".join(f"{spec.name} {spec.dtype} {_shape(spec.shape)}" for spec in wanted)
    return ModelError(
        f"its {kind} are {', '.join(_described(value) for value in found) or 'none'}; expected {expected}",
        where=f"model {manifest.id}",
        hint="it is another model, or another export of this one",
    )


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "of unknown type"
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
    return f"{value.name} {kind} {_shape(shape) if tensor.HasField('shape') else 'of any shape'}"


def _shape(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"


def _check_length(tensor: TensorProto, where: str) -> None:
    """`ModelError` where a dense tensor holds fewer or more bytes than its shape says."""
    bits = ITEM_BITS.get(tensor.data_type)
    if not tensor.raw_data or bits is None:
        return
    expected = prod(tensor.dims) * bits // 8
    if len(tensor.raw_data) != expected:
        raise ModelError(
            f"weights {tensor.name or 'of a constant'} hold {len(tensor.raw_data)} bytes, {expected} are expected",
            where=where,
            hint=FULL_HINT,
        )


def _check_emap(model: onnx.ModelProto, where: str) -> None:
    """The last initializer must be emap: insightface reads it there, and the graph itself does not use it."""
    last = model.graph.initializer[-1] if model.graph.initializer else None
    if (
        last is None
        or tuple(last.dims) != EMAP_SHAPE
        or last.data_type
        not in (
            TensorProto.FLOAT,
            TensorProto.FLOAT16,
        )
    ):
        have = "there is none" if last is None else f"it is {last.name} {_shape(list(last.dims))}"
        raise ModelError(
            f"its last initializer must be emap, float32 {_shape(EMAP_SHAPE)}; {have}",
            where=where,
            hint="an optimiser or a converter dropped it: use the file as published",
        )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for item in node.attribute:
            for inner in [*([item.g] if item.HasField("g") else []), *item.graphs]:
                yield from _graphs(inner)
