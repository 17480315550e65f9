"""An ONNX file is a Model: its graph as onnx-ir, and in its metadata all that must travel with it. Imports no torch.

Our metadata are JSON texts under keys that begin with `compress.`; a file from anywhere else simply has none. Further
forms of a model lie beside the main file as `NAME.FORM.onnx`, named in its metadata.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir

from export.external_data import check_external, graphs_of, tensors_of
from export.files import whole
from export.metadata import PREFIX, read_metadata, write_metadata
from export.onnx_repair import repair
from export.signature import signature
from models.errors import ModelFileError
from models.records import Form, Model

LARGEST_BYTES = 2**31 - 2**20  # protobuf's limit for one message, less what the graph itself takes
_OLDEST_OPSET = 9
_NEWEST_IR = 13  # that ONNX Runtime takes; what is newer only says more about a file than its operators need


def read(path: str | Path) -> Model:
    """Read an ONNX file: any opset from 9 on, any IR version ONNX Runtime loads, external data, further forms.

    Raises:
        ModelFileError: the file is missing, empty, cut off, no ONNX, or ONNX that no runtime accepts.
    """
    path = Path(path)
    network = _network(path)
    inputs, outputs = signature(network, str(path))
    model = Model(network, inputs, outputs, name=path.stem)
    model, forms = read_metadata(model, str(path))
    for name, file in forms.items():
        beside = path.parent / Path(file).name
        if beside.is_file():
            part = read(beside)
            form = Form(inputs=part.inputs, outputs=part.outputs, network=part.network)
            model = replace(model, forms={**model.forms, name: form})
    return model


def write(model: Model, path: str | Path, *, not_the_same_as: tuple[str | Path, ...] = ()) -> None:
    """Write one file, whole or not at all; each further form as one file beside it.

    The same model gives the same bytes. A network above 2 GB needs a second file, `PATH.data`, for its weights.

    Args:
        model: an ONNX model.
        path: what shall appear.
        not_the_same_as: files that must not be overwritten.

    Raises:
        UsageError, CompressError: as `export.files.whole`.
    """
    path = Path(path)
    files = {name: f"{path.stem}.{name}{path.suffix}" for name in model.forms}
    for name, form in model.forms.items():
        part = replace(model, network=form.network, inputs=form.inputs, outputs=form.outputs, forms={}, sample=None)
        _write_one(part, path.parent / files[name], {}, not_the_same_as)
    _write_one(model, path, files, not_the_same_as)


def to_bytes(model: Model) -> bytes:
    """The main form as it would lie in a file: what is deployed, what `size_bytes` counts, what a session loads.

    Raises:
        ModelFileError: above 2 GB, where ONNX has no single file.
    """
    if weight_bytes(model) > LARGEST_BYTES:
        raise ModelFileError(
            f"model {model.name!r} is larger than 2 GB and cannot be held in one piece. Write it to a file."
        )
    data: bytes = _proto(model, {}).SerializeToString(deterministic=True)
    return data


def weight_bytes(model: Model) -> int:
    """Bytes of all constants of the main form, subgraphs included."""
    return sum(
        value.const_value.nbytes
        for graph in model.onnx.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def _write_one(model: Model, path: Path, forms: dict[str, str], kept: tuple[str | Path, ...]) -> None:
    if weight_bytes(model) <= LARGEST_BYTES:
        with whole(path, not_the_same_as=kept) as part:
            part.write_bytes(_proto(model, forms).SerializeToString(deterministic=True))
        return
    data = path.with_name(path.name + ".data")
    with whole(data, not_the_same_as=kept) as data_part, whole(path, not_the_same_as=kept) as part:
        network = ir.external_data.unload_from_model(_described(model, forms), data_part.parent, data_part.name)
        proto = _said_once(ir.to_proto(network))
        for tensor in tensors_of(proto):
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = data.name
        part.write_bytes(proto.SerializeToString(deterministic=True))


def _proto(model: Model, forms: dict[str, str]) -> onnx.ModelProto:
    return _said_once(ir.to_proto(_described(model, forms)))


def _said_once(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the types and shapes of constants, which each constant says itself: a hundredth of a small file."""
    for graph in graphs_of(proto):
        constants = {tensor.name for tensor in graph.initializer} if isinstance(graph, onnx.GraphProto) else set()
        kept = [value for value in graph.value_info if value.name not in constants]
        del graph.value_info[:]
        graph.value_info.extend(kept)
    return proto


def _described(model: Model, forms: dict[str, str]) -> ir.Model:
    """The same graph under our metadata; the model's own dictionary stays as it is."""
    network = model.onnx
    kept = {key: text for key, text in network.metadata_props.items() if not key.startswith(PREFIX)}
    return ir.Model(
        network.graph,
        ir_version=network.ir_version,
        producer_name=network.producer_name,
        producer_version=network.producer_version,
        domain=network.domain,
        model_version=network.model_version,
        doc_string=network.doc_string,
        functions=tuple(network.functions.values()),
        metadata_props={**kept, **write_metadata(model, forms)},
    )


def _network(path: Path) -> ir.Model:
    if path.is_dir():
        raise ModelFileError(f"{str(path)!r} is a folder; name the .onnx file in it.")
    try:
        size = path.stat().st_size
        if size == 0 or size > LARGEST_BYTES:
            what = "is above 2 GB in one piece, which no ONNX file can be" if size else "is empty"
            raise ModelFileError(f"{str(path)!r} {what}. Export or copy it again.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"there is no file {str(path)!r}.") from None
    except OSError as error:
        raise ModelFileError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    proto = _parsed(data, path)
    check_external(proto, path)
    _check(proto, path)
    try:
        network = ir.from_proto(proto)
        ir.external_data.set_base_dir(network.graph, path.parent)
        if sum(t.nbytes for t in _external(network)) <= LARGEST_BYTES:
            network = ir.external_data.load_to_model(network)
        repair(network)
    except Exception as error:
        raise ModelFileError(f"{str(path)!r} is broken: {_first_line(error)}.") from error
    return network


def _parsed(data: bytes, path: Path) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:
        whatever = "is no ONNX file" if not data.startswith(b"\x08") else "is broken or cut off"
        raise ModelFileError(
            f"{str(path)!r} {whatever}: it holds no readable graph. Export or copy it again."
        ) from None
    # protobuf makes an empty graph of many a text: without these three there is nothing to run
    if not proto.ir_version or not proto.HasField("graph") or not proto.graph.output:
        raise ModelFileError(
            f"{str(path)!r} is no ONNX file, or only its beginning: it holds no graph. Export or copy it again."
        )
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < _OLDEST_OPSET:
        raise ModelFileError(
            f"{str(path)!r} is written in opset {opset}, and {_OLDEST_OPSET} is the oldest read here. "
            "Export it again, or convert it with onnx.version_converter."
        )
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and opset > newest:
        raise ModelFileError(
            f"{str(path)!r} is written in opset {opset}, and {newest} is the newest known here. "
            "Export it in an older opset, or update: pip install -U onnx onnxruntime"
        )
    if proto.ir_version > _NEWEST_IR:
        proto.ir_version = min(_NEWEST_IR, onnx.helper.find_min_ir_version_for(proto.opset_import, True))
    return proto


def _check(proto: onnx.ModelProto, path: Path) -> None:
    """ONNX's own checker; where it refuses, ONNX Runtime has the last word, for it reads more than the checker."""
    try:
        if any(tensor.external_data for tensor in tensors_of(proto)):
            onnx.checker.check_model(str(path))
        else:
            onnx.checker.check_model(proto)
    except Exception as error:
        if not _runs(path):
            raise ModelFileError(f"{str(path)!r} is no valid ONNX: {_first_line(error)}.") from None


def _runs(path: Path) -> bool:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def _external(network: ir.Model) -> list[ir.ExternalTensor]:
    values = [v.const_value for graph in network.graphs() for v in graph.initializers.values()]
    return [tensor for tensor in values if isinstance(tensor, ir.ExternalTensor)]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
