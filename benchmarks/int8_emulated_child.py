"""Outputs of ONNX files on whatever processor this process finds, perhaps an emulated one. Imports nothing of ours.

    qemu-x86_64 -cpu Haswell python -I int8_emulated_child.py JOBS.json

JOBS is a list of {"model", "inputs", "outputs"}: an ONNX file, an .npz of named arrays, the .npz to write. One that
fails writes the reason to "outputs" with the suffix .txt.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort


def main(jobs: str) -> None:
    """Run each of them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for job in json.loads(Path(jobs).read_text(encoding="utf-8")):
        try:
            session = ort.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
            with np.load(job["inputs"]) as file:
                made = session.run(None, {name: file[name] for name in file.files})
            names = [output.name for output in session.get_outputs()]
            np.savez(job["outputs"], **dict(zip(names, made)))  # type: ignore[arg-type]  # noqa: B905
        except Exception as error:
            Path(job["outputs"]).with_suffix(".txt").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        print(job["model"], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
