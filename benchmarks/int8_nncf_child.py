"""One graph quantized by NNCF, in an interpreter that has it and nothing of ours.

    python -I int8_nncf_child.py MODEL.onnx SAMPLES.npz OUTPUT.onnx

SAMPLES holds arrays named NUMBER/INPUT. Attention is told of by `model_type`, as NNCF's documentation asks; all else is
by its defaults. The last line printed is a JSON document.
"""

import json
import sys

import numpy as np
import onnx


def main(model_path: str, samples_path: str, output_path: str) -> None:
    """Quantize and write."""
    try:
        import nncf
    except Exception as error:
        sys.exit(f"does not import after a plain install: {type(error).__name__}: {error}")
    batches: dict[str, dict[str, np.ndarray]] = {}  # type: ignore[type-arg]
    with np.load(samples_path) as file:
        for key in file.files:
            number, _, name = key.partition("/")
            batches.setdefault(number, {})[name] = file[key]
    model = onnx.load(model_path)
    attends = any(node.op_type in ("Softmax", "Attention") for node in model.graph.node)
    made = nncf.quantize(
        model,
        nncf.Dataset(list(batches.values())),
        subset_size=len(batches),
        model_type=nncf.ModelType.TRANSFORMER if attends else None,
    )
    onnx.save(made, output_path)
    print(json.dumps({"version": nncf.__version__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
