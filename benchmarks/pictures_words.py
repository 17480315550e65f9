"""Pictures of word vectors: words in the plane, coloured by their kind; and the lists of neighbours on the pages.

python -m benchmarks.pictures_words NAME     prints the nearest neighbours of the twenty words
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure
from safetensors.torch import load_file
from sklearn.decomposition import PCA

import compress  # noqa: F401  binds our packages
from models import WEIGHTS
from models.dialogues import vocabulary
from models.tasks import Array
from models.vocabulary import MARKS
from models.word_kinds import KINDS, TWENTY, makes_sense
from models.word_vectors import FREQUENT, nearest


def plane(name: str, path: Path) -> None:
    """The words of the six kinds, by the two directions in which their vectors of length 1 differ most (PCA).

    Only those among the thousand most frequent words, since a rare one has hardly been learned.
    """
    words, table = _table(name)
    kinds = {word: kind for kind, members in KINDS.items() for word in words[:FREQUENT] if word in members}
    rows = table[[words.index(word) for word in kinds]]
    fitted = PCA(2, random_state=0)
    at = fitted.fit_transform(rows / ((rows**2).sum(1, keepdims=True) ** 0.5))
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.add_subplot()
    for number, kind in enumerate(KINDS):
        colour = colormaps["tab10"](number)
        some = [i for i, of in enumerate(kinds.values()) if of == kind]
        axes.scatter(at[some, 0], at[some, 1], s=14, color=colour, label=kind)
        for i in some:
            axes.annotate(list(kinds)[i], at[i], (3, 2), textcoords="offset points", fontsize=7, color=colour)
    shares = fitted.explained_variance_ratio_
    axes.set(xlabel=f"first direction, {shares[0]:.0%} of the variance", ylabel=f"second, {shares[1]:.0%}")
    axes.legend(loc="best", fontsize=8)
    figure.savefig(path, dpi=90)


def neighbours(name: str) -> dict[str, list[str]]:
    """The five nearest words of each of the twenty, among all of the vocabulary, by the angle between vectors."""
    words, table = _table(name)
    near = nearest(table, 5)
    return {word: [words[i] for i in near[words.index(word)]] for word in TWENTY}


def _table(name: str) -> tuple[tuple[str, ...], Array]:
    """The words without the marks, most frequent first, and their vectors."""
    table: Array = load_file(WEIGHTS / f"{name}.safetensors")["word.weight"].float().numpy()
    return vocabulary().words[len(MARKS) :], table[len(MARKS) :]


if __name__ == "__main__":
    for word, near in neighbours(sys.argv[1]).items():
        print(f"| {word} | {TWENTY[word]} | {', '.join(near)} | {'yes' if makes_sense(word, near) else 'no'} |")
