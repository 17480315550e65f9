"""Pictures of the translators: BLEU by the source's length, where attention looks, and thoughts as points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from safetensors.torch import load_model

from benchmarks.translation import MODELS, RESULT
from models import WEIGHTS, find
from models.decoding import Decoder, first_states
from models.enja import vocabulary
from models.errors import CompressError
from models.vocabulary import BOS, EOS

FONTS = ("Noto Sans CJK JP", "IPAPGothic", "IPAGothic", "IPAexGothic", "VL Gothic", "Hiragino Sans", "Yu Gothic")
LONG = "i want to know the reason why you are absent ."
# pairs that differ in who does it, or in when
THOUGHTS = (
    "i love her .",
    "she loves me .",
    "i loved her .",
    "he loves music .",
    "she is reading a book .",
    "he was reading a book .",
    "he is reading a newspaper .",
    "where did you buy it ?",
    "when did you buy it ?",
    "where do you live ?",
    "it is raining .",
    "it rained yesterday .",
)


def network_of(name: str) -> Any:
    """The reference module with its committed weights."""
    network = find(name).build()
    load_model(network, WEIGHTS / f"{name}.safetensors")
    return network


def japanese_font() -> str:
    """A font of this machine with Japanese letters; raises CompressError where there is none."""
    known = {font.fname for font in font_manager.fontManager.ttflist}  # kept from an earlier run, perhaps
    for file in set(font_manager.findSystemFonts()) - known:
        font_manager.fontManager.addfont(file)
    there = {font.name for font in font_manager.fontManager.ttflist}
    if found := next((font for font in FONTS if font in there), None):
        return found
    raise CompressError(
        f"pictures: none of the fonts {', '.join(FONTS)} is here, and the picture has Japanese words. Install one, "
        "such as fonts-ipafont-gothic."
    )


def thoughts(name: str, path: Path) -> None:
    """The thought vectors of some sentences on the plane of their first two principal components."""
    network, english = network_of(name), vocabulary("en")
    with torch.no_grad():
        found = np.stack(
            [network.encode(torch.from_numpy(english.encode(line.split()))[None])[0].numpy() for line in THOUGHTS]
        )
    centred = found - found.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    x, y = (centred @ directions[:2].T).T
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(x, y, s=18)
    beside, apart, last = np.ptp(x) / 25, np.ptp(y) / 16, -np.inf
    for i in np.argsort(y):  # from the bottom up, each label above the one before
        last = max(y[i], last + apart)
        axes.annotate(
            THOUGHTS[i],
            (x[i], y[i]),
            xytext=(x[i] + beside, last),
            fontsize=9,
            va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "shrinkA": 0},
        )
    axes.margins(x=0.35, y=0.2)
    axes.set_xlabel("first principal component of h")
    axes.set_ylabel("second")
    figure.savefig(path, dpi=90)


def attention_matrix(name: str, path: Path) -> None:
    """BLEU by length, and the attention of each written word to each word of one sentence."""
    network = network_of(name)
    source, target, said = _translated(network, LONG, network.encode, network.step)
    with torch.no_grad():
        weights = network.attend(source, target)[0].numpy()
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    _bleu_by_length(figure.add_subplot(1, 2, 1))
    _matrix(figure.add_subplot(1, 2, 2), weights, LONG.split(), said, "attention")
    figure.savefig(path, dpi=90)


def attention_of_heads(name: str, path: Path) -> None:
    """BLEU by length, and where each head of the last block looks in the source."""
    network = network_of(name)
    seen: list[torch.Tensor] = []
    source, target, said = _translated(network, LONG, network.encode, network.step)
    cross = network.decoder[-1].cross
    hook = cross.register_forward_pre_hook(lambda layer, given: seen.append(_heads(layer, *given[:2])))
    with torch.no_grad():
        network(source, target)
    hook.remove()
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    _bleu_by_length(figure.add_subplot(2, 3, 1))
    for head, weights in enumerate(seen[0].numpy()):
        axes = figure.add_subplot(2, 3, head + 2)
        _matrix(axes, weights, LONG.split(), said, f"last block, head {head + 1}")
    figure.savefig(path, dpi=75)


def _translated(network: Any, line: str, encode: Any, step: Any) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Source numbers, the numbers that were read to write the translation, and its words with the end."""
    forms = find("seq2seq-attention" if hasattr(network, "attend") else "transformer").forms

    def run(form: str, call: Any, arrays: Any) -> dict[str, Any]:
        with torch.no_grad():
            found = call(*(torch.from_numpy(np.asarray(arrays[spec.name])) for spec in forms[form].inputs))
        return {spec.name: value.numpy() for spec, value in zip(forms[form].outputs, found, strict=True)}

    numbers = vocabulary("en").encode(line.split())[None]
    given = run("encode", encode, {"source": numbers})
    given |= first_states({spec.name: spec.dims for spec in forms["step"].inputs if spec.name != "target"}, given)
    decoder = Decoder(step=lambda arrays: run("step", step, arrays), begin=BOS, end=EOS, longest=32)
    written = decoder.greedy(given)[0]
    words = vocabulary("ja")
    read = np.concatenate([[BOS], written[:-1]])
    return torch.from_numpy(numbers), torch.from_numpy(read)[None], [*(words.words[n] for n in written)]


def _heads(layer: Any, x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """softmax(QK^T / sqrt(size)) of one sentence, (heads, T, S)."""
    query, key = (part[0].unflatten(-1, (layer.heads, -1)).transpose(0, 1) for part in (layer.query(x), keys))
    found: torch.Tensor = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
    return found


def _matrix(axes: Axes, weights: Any, source: list[str], target: list[str], title: str) -> None:
    axes.imshow(weights, cmap="magma_r", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(np.arange(len(source)), source, fontsize=8, rotation=60)
    axes.set_yticks(np.arange(len(target)), target, fontsize=8, fontfamily=japanese_font())
    axes.set_title(title, fontsize=9)


def _bleu_by_length(axes: Axes) -> None:
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    for place, name in enumerate(MODELS):
        parts = document["greedy_by_length"][name]
        value, low, high = (np.array([part[key] for part in parts.values()]) for key in ("value", "low", "high"))
        x = np.arange(len(parts)) + 0.12 * (place - 1)
        axes.errorbar(x, value, yerr=[value - low, high - value], marker="o", capsize=3, label=name)
    labels = [f"{words}\n({part['n']})" for words, part in parts.items()]
    axes.set_xticks(np.arange(len(labels)), labels, fontsize=8)
    axes.set_xlabel("words of the source (sentences of the test)", fontsize=8)
    axes.set_ylabel("BLEU, greedy", fontsize=8)
    axes.set_ylim(0)
    axes.legend(fontsize=8)
