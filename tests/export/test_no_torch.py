import subprocess
import sys
import textwrap


def test_onnx_models_are_read_run_compared_and_counted_without_torch(tmp_path):
    script = """
        import sys
        sys.modules["torch"] = None  # an import of it raises

        import numpy as np
        from onnx import TensorProto, helper, numpy_helper

        import compress
        from export.cost import cost, integer_macs_share
        from export.onnx_file import read, to_bytes, write
        from export.parity import verify
        from export.folded import fold
        from export.profile import optimized_graph, profile
        from export.session import onnx_runner

        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in "xy")
        w = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [w])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        open("a.onnx", "wb").write(made.SerializeToString())
        model = read("a.onnx")
        write(fold(model), "b.onnx")
        largest = verify(model, read("b.onnx")).max_abs
        print(largest, cost(model).macs, integer_macs_share(model), optimized_graph(model))
        one = np.ones((1, 4), np.float32)
        assert len(profile(model, {"x": one})) == 1 and (onnx_runner(model)({"x": one})["y"] == one).all()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={"PYTHONPATH": str(__import__("pathlib").Path(__file__).parents[2]), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.0 16 0.0 {'MatMul': 1}")
