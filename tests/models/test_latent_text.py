import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from models.errors import DataError
from models.latent_text import OUTPUTS, LatentNextToken, words_left_out
from models.sequence_batches import SequenceBatches
from models.tasks import IGNORED, NextToken
from models.vocabulary import BOS, PAD, UNK

WORDS, CODE = tuple("abcdefg"), 3
TARGETS = [np.array(row) for row in ([4, 5, 2], [6, 2], [1, 3, 5, 2], [2])]


def made(kind=LatentNextToken, **more):
    inputs = {"target": TARGETS, "row": [np.array([i]) for i in range(len(TARGETS))]}
    rows = SequenceBatches(inputs=inputs, target=TARGETS, batch_size=2)
    return kind(name="made", train=rows, validation=rows, test=rows, labels=WORDS, unit="perplexity", **more)


def outputs(seed=0, rows=4, longest=4):
    torch.manual_seed(seed)
    shapes = [(rows, longest, len(WORDS)), *[(rows, CODE)] * 4]
    return {name: torch.randn(shape).double() for name, shape in zip(OUTPUTS, shapes, strict=True)}


def runner(found):
    def run(arrays):
        rows, longest = arrays["row"][:, 0], arrays["target"].shape[1]
        return {n: v.numpy()[rows][:, :longest] if n == "logits" else v.numpy()[rows] for n, v in found.items()}

    return run


def torchs_own(found):
    """KL of the posterior from the prior, (N, code)."""
    prior, posterior = (
        Normal(found[f"{who}_mean"], (0.5 * found[f"{who}_log_variance"]).exp()) for who in ("prior", "posterior")
    )
    return kl_divergence(posterior, prior)


def padded_targets():
    return torch.from_numpy(np.stack([np.pad(t, (0, 4 - len(t)), constant_values=IGNORED) for t in TARGETS]))


def nats(found):
    return torch.nn.functional.cross_entropy(
        found["logits"].flatten(0, 1), padded_targets().flatten(), ignore_index=IGNORED, reduction="sum"
    )


def test_the_score_is_the_bound_on_the_perplexity():
    found, task = outputs(), made()
    score, words = task.score(runner(found)), sum(map(len, TARGETS))
    wanted = math.exp(float(nats(found) + torchs_own(found).sum()) / words)
    assert score.value == pytest.approx(wanted, rel=1e-9) and (score.n, score.unit) == (words, "perplexity")
    assert task.divergence(score.samples) == pytest.approx(float(torchs_own(found).sum(1).mean()), rel=1e-9)
    assert not score.higher_is_better and score.low < score.value < score.high


def test_where_the_code_says_nothing_the_bound_is_the_perplexity():
    found = outputs()
    for part in ("mean", "log_variance"):
        found[f"posterior_{part}"] = found[f"prior_{part}"]
    plain = made(NextToken).score(runner({"logits": found["logits"]}))
    bound = made().score(runner(found))
    assert bound.value == pytest.approx(plain.value, rel=1e-12) and made().divergence(bound.samples) == 0


def test_the_loss_is_the_bound_and_the_first_nats_of_each_number_are_free():
    found, words = outputs(), sum(map(len, TARGETS))
    own = torchs_own(found).mean(0)
    for free in (0.0, float(own.median()), 100.0):
        wanted = (nats(found) + 4 * own.clamp(min=free).sum()) / words
        torch.testing.assert_close(made(free_nats=free).loss(found, padded_targets()), wanted)
    lean = {name: value.clone().requires_grad_() for name, value in found.items()}
    made(free_nats=100.0).loss(lean, padded_targets()).backward()
    assert not lean["prior_mean"].grad.any() and lean["logits"].grad.any(), "what is free is not learned away"


def test_imitation_is_torchs_divergence_of_words_and_codes():
    student, teacher = outputs(1), outputs(2)
    words = torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=one["logits"]) for one in (teacher, student))
    ).mean()
    codes = 0.0
    for who in ("prior", "posterior"):
        q = [Normal(one[f"{who}_mean"], (0.5 * one[f"{who}_log_variance"]).exp()) for one in (teacher, student)]
        codes += kl_divergence(*q).sum(1).mean()
    torch.testing.assert_close(made().imitation(student, teacher), words + codes / 4)
    assert float(made().imitation(teacher, teacher)) == pytest.approx(0, abs=1e-12)


def test_agreement_is_that_of_the_words():
    found, other = outputs(), outputs(3)
    task, plain = made(), made(NextToken)
    assert task.score(runner(found), reference=runner(found)).value == 1
    wanted = plain.score(runner(found), reference=runner(other))
    assert task.score(runner(found), reference=runner(other)) == wanted


def test_a_code_that_is_no_number_needs_infinite_bits():
    found = outputs()
    found["posterior_mean"][1] = math.nan
    assert made().score(runner(found)).value == math.inf


def test_a_model_without_a_prior_is_told_so():
    found = outputs()
    del found["prior_log_variance"]
    with pytest.raises(DataError, match="needs an output 'prior_log_variance', and the model gives logits, prior_mean"):
        made().score(runner(found))


def test_a_share_of_the_words_is_left_out_and_no_mark():
    words = np.full((100, 100), 9)
    words[:, 0], words[:, 90:] = BOS, PAD
    arrays = {"target": words, "context": words}
    changed = words_left_out("target", 0.25)(arrays, np.random.default_rng(0))
    gone = changed["target"] == UNK
    assert ((changed["target"] == words) | gone).all() and changed["context"] is words
    assert not gone[:, 0].any() and not gone[:, 90:].any()
    # five standard errors of a share of 8,900
    assert abs(gone[:, 1:90].mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 8900)
