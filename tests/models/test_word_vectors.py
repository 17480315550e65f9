import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from export.session import Formed
from models import WEIGHTS, find
from models.batches import ArrayBatches
from models.dialogues import vocabulary
from models.vocabulary import MARKS, PAD
from models.word2vec_cbow import BagOfWords
from models.word2vec_skipgram import SkipGram
from models.word_kinds import TWENTY, makes_sense
from models.word_vectors import NegativeSampling, nearest

# of the twenty: whose nearest word is one it is said with ("next monday"), or a kind's other spelling ("two", "2")
FAILING = {
    "word2vec-skipgram": {"monday", "friday", "two", "three", "oakland", "london", "paris", "dentist"},
    "word2vec-cbow": {"two", "three", "four"},
}
TARGET = np.array([[1, 0, 0], [1, 0, 0]], np.float32)


def task(rows=4, words=6):
    split = ArrayBatches(
        inputs={"centre": np.arange(rows), "words": np.tile([4, 5], (rows, 1))},
        target=np.tile(np.float32([1, 0]), (rows, 1)),
        batch_size=3,
    )
    return NegativeSampling(name="pairs", train=split, validation=split, test=split, words=np.arange(words))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def of(table):
    """A runner whose vectors are a table's and whose scores are all in the right order."""
    return Formed(
        lambda arrays: {"scores": np.tile([1.0, 0.0], (len(arrays["centre"]), 1))},
        {"vector": lambda arrays: {"vector": table[arrays["word"]]}},
    )


def test_the_loss_is_that_of_the_papers_equation_four():
    def loss(scores):
        return task().loss({"scores": torch.tensor(scores)}, torch.from_numpy(TARGET)).item()

    assert loss([[0.0, 0.0, 0.0]] * 2) == pytest.approx(3 * np.log(2))
    scores = np.array([[1.0, -2.0, 0.5], [-0.3, 0.0, 3.0]])
    by_hand = -np.log(sigmoid(scores[:, 0])) - np.log(sigmoid(-scores[:, 1:])).sum(1)
    assert loss(scores.tolist()) == pytest.approx(by_hand.mean(), rel=1e-6)


def network_of(kind):
    torch.manual_seed(0)
    network = kind(8, 3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network


def gradients(network, given, words):
    scores = network(torch.from_numpy(given), torch.from_numpy(words))
    task().loss({"scores": scores}, torch.from_numpy(TARGET)).backward()
    return [p.grad.numpy() for p in network.parameters()], scores.detach().numpy()


def test_skip_grams_gradient_is_that_worked_out_by_hand():
    network = network_of(SkipGram)
    centre, words = np.array([4, 5]), np.array([[5, 6, 7], [4, 7, 7]])
    (of_word, of_neighbour), scores = gradients(network, centre, words)
    u, v = (p.detach().numpy() for p in network.parameters())
    np.testing.assert_allclose(scores, np.einsum("nd,nkd->nk", u[centre], v[words]))
    slope = (sigmoid(scores) - TARGET) / 2  # of the loss by each score
    by_hand_u, by_hand_v = np.zeros_like(u), np.zeros_like(v)
    for row, c in enumerate(centre):
        for k, word in enumerate(words[row]):
            by_hand_u[c] += slope[row, k] * v[word]
            by_hand_v[word] += slope[row, k] * u[c]
    np.testing.assert_allclose(of_word, by_hand_u, atol=1e-12)
    np.testing.assert_allclose(of_neighbour, by_hand_v, atol=1e-12)


def test_the_bag_of_words_gradient_is_that_worked_out_by_hand():
    network = network_of(BagOfWords)
    context, words = np.array([[4, PAD, 5, 4], [PAD, 6, PAD, PAD]]), np.array([[5, 6, 7], [4, 7, 7]])
    (of_word, of_centre), scores = gradients(network, context, words)
    u, v = (p.detach().numpy() for p in network.parameters())
    real = [[4, 5, 4], [6]]
    slope = (sigmoid(scores) - TARGET) / 2
    by_hand_u, by_hand_v = np.zeros_like(u), np.zeros_like(v)
    for row, around in enumerate(real):
        mean = u[around].mean(0)
        np.testing.assert_allclose(scores[row], v[words[row]] @ mean)
        for k, word in enumerate(words[row]):
            by_hand_v[word] += slope[row, k] * mean
            for other in around:
                by_hand_u[other] += slope[row, k] * v[word] / len(around)
    np.testing.assert_allclose(of_word, by_hand_u, atol=1e-12)
    np.testing.assert_allclose(of_centre, by_hand_v, atol=1e-12)
    assert not of_word[PAD].any()


def test_a_context_without_words_is_no_number_by_nobody():
    scores = BagOfWords(8, 3)(torch.full((1, 4), PAD), torch.tensor([[4, 5]]))
    assert torch.isfinite(scores).all()


def test_the_score_is_the_share_of_true_words_above_noise():
    def runner(arrays):
        rows = arrays["centre"]
        return {"scores": np.stack([np.choose(rows, [1.0, 0.0, -1.0, np.nan]), np.zeros(len(rows))], 1)}

    found = task().score(runner)
    assert (found.value, found.n, found.unit) == (0.25, 4, "true above noise")  # ties and NaN are wrong
    assert found.low < 0.25 < found.high
    alike = task().score(runner, reference=lambda arrays: {"scores": -runner(arrays)["scores"]})
    assert (alike.value, alike.unit) == (0.5, "agreement")


def test_the_nearest_are_those_at_the_least_angle():
    at = np.radians([0, 10, 30, 90, 175])
    table = np.stack([np.cos(at), np.sin(at)], 1) * [[1], [5], [0.1], [2], [3]]
    assert nearest(table, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [3, 2]]


def test_neighbours_overlap_wholly_under_a_rotation_and_by_hand_otherwise():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((40, 5))
    turned = 3 * table @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    judged = task(words=40)
    same = judged.score(of(table), reference=of(turned))
    assert (same.value, same.n, same.unit) == (1.0, 40, "neighbour overlap")
    other = rng.standard_normal((40, 5))
    found = judged.score(of(other), reference=of(table))
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(nearest(other, 10), nearest(table, 10), strict=True)]
    assert found.value == pytest.approx(np.mean(shares)) and found.low <= found.value <= found.high
    np.testing.assert_allclose(judged.statistics(found.samples, np.ones((1, 40))), [found.value])


@pytest.mark.parametrize("name", ["word2vec-skipgram", "word2vec-cbow"])
def test_nearest_neighbours_of_the_twenty_words_make_sense(name):
    words = vocabulary().words[len(MARKS) :]
    table = load_file(WEIGHTS / f"{name}.safetensors")["word.weight"].float().numpy()[len(MARKS) :]
    near = nearest(table, 5)
    failing = {word for word in TWENTY if not makes_sense(word, [words[i] for i in near[words.index(word)]])}
    assert failing == FAILING[name]


def test_the_forms_say_what_the_vectors_are():
    for name in ("word2vec-skipgram", "word2vec-cbow"):
        entry = find(name)
        network = entry.tiny()
        word = torch.tensor([5, 9])
        torch.testing.assert_close(getattr(network, entry.forms["vector"].method)(word), network.word.weight[word])
