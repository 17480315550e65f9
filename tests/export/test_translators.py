"""What a device runs of the translators: each form at several lengths and batches, stepping, the loop on the page.

Exporting takes seconds, so `seq2seq`, which is the one with attention less its attention, is left to the contract.
"""

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.save import save, writes_tokens
from export.session import runner_for
from export.to_onnx import to_onnx
from export.wrap import of_entry
from models.decoding import Decoder, first_states
from models.records import example
from models.vocabulary import BOS, EOS, UNK

BUILT = {
    "seq2seq_attention": {"width": 6},
    "transformer": {"width": 6, "heads": 2, "inner": 8, "blocks": 1},
}
PAGES = Path(__file__).parents[2] / "docs" / "models"


@pytest.fixture(scope="module", params=BUILT)
def pair(request):
    """The reference network, narrow, as torch and as ONNX."""
    module = importlib.import_module(f"models.{request.param}")
    entry = module.ENTRY
    if request.param == "transformer":
        entry = replace(entry, forms=module.forms(width=6, blocks=1))
    torch.manual_seed(3)
    network = module.build(**BUILT[request.param])
    for table in (network.source, network.target):  # wide apart, or all answers would be alike
        torch.nn.init.normal_(table.weight)
    model = of_entry(entry, network)
    return model, to_onnx(model)


def test_every_form_agrees_at_three_lengths_and_three_batches(pair):
    model, exported = pair
    assert set(exported.forms) == set(model.forms) >= {"encode", "step"}
    for form in (None, *model.forms):
        inputs = (model.forms[form] if form else model).inputs
        runners = [runner_for(each, form=form) for each in pair]
        for n, s, t, p in ((1, 1, 1, 0), (2, 5, 3, 4), (7, 16, 2, 1)):
            arrays = example(inputs, {"N": n, "S": s, "T": t, "P": p}, seed=n)
            a, b = (run(arrays) for run in runners)
            assert list(a) == list(b)
            for name in a:
                assert a[name].shape[0] == n
                np.testing.assert_allclose(a[name], b[name], atol=2e-5, err_msg=f"{form}: {name}")


def test_stepping_the_exported_files_is_the_exported_whole(pair):
    _, exported = pair
    main = runner_for(exported)
    arrays = example(exported.inputs, {"N": 3, "S": 5, "T": 7}, seed=4)
    step = main.forms["step"]
    given = dict(main.forms["encode"]({"source": arrays["source"]}))
    given |= first_states({spec.name: spec.dims for spec in step.inputs if spec.name != "target"}, given)
    found = []
    for new in np.split(arrays["target"], [1, 2, 5], axis=1):
        outputs = step({**given, "target": new})
        given |= {name: outputs[f"{name}_out"] for name in given if f"{name}_out" in outputs}
        found.append(outputs["logits"])
    np.testing.assert_allclose(np.concatenate(found, 1), main(arrays)["logits"], atol=2e-5)


def test_the_loop_lies_beside_the_files_it_drives(pair, tmp_path):
    _, exported = pair
    written = save(exported, tmp_path / "x.onnx")
    assert written[0].name == "x.onnx" and written[-1].name == "x.decode.py"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)
    assert {"x.encode.onnx", "x.step.onnx"} < {p.name for p in written}
    again = save(exported, tmp_path / "x.onnx")
    assert again == written and "class Decoder" in written[-1].read_text()


def test_no_loop_lies_beside_a_model_that_writes_no_tokens():
    from export.wrap import from_entry
    from models import find

    assert not writes_tokens(from_entry(find("gru-fsdd"), tiny=True))


def test_the_script_on_the_page_translates_as_torch_does_with_numpy_and_onnxruntime_alone(pair, tmp_path):
    model, exported = pair
    save(exported, tmp_path / "seq2seq.onnx")
    (script,) = re.findall(r"```python\n(.*?)```", (PAGES / "seq2seq.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "translate.py").write_text(script, encoding="utf-8")
    marks = "<unk>\n<s>\n</s>\n"
    for language in ("en", "ja"):
        words = "\n".join(f"{language}{i}" for i in range(4, 4097))
        (tmp_path / f"train.{language}.vocab.4k").write_text(f"{marks}{words}\n", encoding="utf-8")
    lines = ["en4 en500 en3000 en7", "", "en9 nonsense", "en8"]
    code = "import runpy, sys; runpy.run_path('translate.py'); print(*{'torch', 'models', 'export'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONIOENCODING": "utf-8", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr

    runner = runner_for(model)
    step = runner.forms["step"]
    decoder = Decoder(step=step, begin=BOS, end=EOS, longest=32)
    wanted = []
    for line in filter(None, lines):
        source = np.array([[int(w[2:]) if w.startswith("en") else UNK for w in line.split()]])
        given = dict(runner.forms["encode"]({"source": source}))
        given |= first_states({spec.name: spec.dims for spec in step.inputs if spec.name != "target"}, given)
        (numbers,) = decoder.beam(given, width=4)
        wanted.append("".join(f"ja{n}" for n in numbers))
    assert done.stdout.splitlines() == [*wanted, ""] and any(wanted)
