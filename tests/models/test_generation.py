import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from models.batches import ArrayBatches
from models.errors import DataError
from models.generation import Bound
from models.vae import VariationalAutoencoder, tiny


def bound(target, batch_size=7):
    batches = ArrayBatches(inputs={"x": target}, target=target, batch_size=batch_size)
    return Bound(name="made", train=batches, validation=batches, test=batches)


def outputs(rows=10, pixels=6, code=3, seed=0):
    torch.manual_seed(seed)
    made = {
        "drawn": torch.randn(rows, pixels),
        "mean": torch.randn(rows, code),
        "log_variance": torch.randn(rows, code),
    }
    return {name: part.double() for name, part in made.items()}


def images(rows=10, pixels=6, seed=0):
    return np.random.default_rng(seed).random((rows, pixels)).astype(np.float32)


def posterior(made):
    return Normal(made["mean"], (0.5 * made["log_variance"]).exp())


def rowwise(made):
    """A runner that knows each row by its first pixel, so that batches may be cut anywhere."""
    return lambda inputs: {
        name: part.numpy()[np.rint(inputs["x"][:, 0] * 100).astype(int)] for name, part in made.items()
    }


def numbered(rows=10, pixels=6):
    made = images(rows, pixels)
    made[:, 0] = np.arange(rows) / 100
    return made


def test_the_divergence_is_torchs_own_and_that_of_a_monte_carlo_estimate():
    made, target = outputs(), numbered()
    divergence = bound(target).score(rowwise(made)).samples[:, 1]
    q, prior = posterior(made), Normal(0.0, 1.0)
    np.testing.assert_allclose(divergence, kl_divergence(q, Normal(torch.zeros(3), torch.ones(3))).sum(1), rtol=1e-6)
    z = q.sample((20_000,))
    drawn = (q.log_prob(z) - prior.log_prob(z)).sum(-1)
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert (np.abs(divergence - drawn.mean(0).numpy()) < 5 * error.numpy()).all()


def test_the_reconstruction_is_the_log_loss_of_the_pixels():
    made, target = outputs(), numbered()
    target[:, 1:] = target[:, 1:] > 0.5
    score = bound(target).score(rowwise(made))
    for row, wanted, logits in zip(score.samples[:, 0], target, made["drawn"], strict=True):
        grey = torch.sigmoid(logits).numpy()
        of_grey = -(wanted[0] * math.log(grey[0]) + (1 - wanted[0]) * math.log(1 - grey[0]))
        of_rest = log_loss(wanted[1:], grey[1:], normalize=False, labels=[0, 1])
        assert row == pytest.approx(of_grey + of_rest, rel=1e-5)


def test_a_grey_pixel_stands_for_all_the_black_and_white_ones_it_may_be():
    target, logits = torch.tensor([[0.3]]), torch.tensor([[0.8]])
    made = {"drawn": logits, "mean": torch.zeros(1, 1), "log_variance": torch.zeros(1, 1)}
    of = Bernoulli(logits=logits).log_prob
    expected = -(0.3 * of(torch.ones(1, 1)) + 0.7 * of(torch.zeros(1, 1)))
    torch.testing.assert_close(bound(target.numpy()).loss(made, target), expected.squeeze())


def test_the_loss_is_the_score():
    made, target = outputs(), numbered()
    score = bound(target).score(rowwise(made))
    loss = bound(target).loss(made, torch.from_numpy(target).double())
    assert score.value == pytest.approx(float(loss), rel=1e-6) and score.value == pytest.approx(
        score.samples.sum(1).mean()
    )
    assert (score.unit, score.higher_is_better, score.n) == ("nats per image", False, 10)
    assert score.low < score.value < score.high


def test_the_bound_is_the_exact_likelihood_but_for_the_divergence_from_the_true_posterior():
    """One code number and three pixels: what has no closed form is an integral over a fine grid."""
    slope, bias = torch.tensor([2.0, -1.0, 0.5]).double(), torch.tensor([0.1, 0.3, -0.7]).double()
    wanted = torch.tensor([1.0, 0.0, 1.0]).double()
    grid = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    prior = Normal(torch.zeros(1).double(), torch.ones(1).double())
    likelihood = Bernoulli(logits=grid[:, None] * slope + bias).log_prob(wanted).sum(1)
    evidence = ((likelihood + prior.log_prob(grid)).exp().sum() * step).log()
    true_posterior = likelihood + prior.log_prob(grid) - evidence  # its logarithm
    for mean, sigma in ((0.625, 0.75), (-1.0, 0.5), (0.0, 1.0)):
        q = Normal(torch.tensor(mean).double(), torch.tensor(sigma).double())
        weight = q.log_prob(grid).exp() * step
        negative_bounds = torch.stack(
            [
                bound(wanted[None].numpy()).loss(
                    {
                        "drawn": (z * slope + bias)[None],
                        "mean": torch.full((1, 1), mean, dtype=torch.float64),
                        "log_variance": torch.full((1, 1), 2 * math.log(sigma), dtype=torch.float64),
                    },
                    wanted[None],
                )
                for z in grid[::20]
            ]
        )
        expected = (negative_bounds * weight[::20] * 20).sum()
        gap = (weight * (q.log_prob(grid) - true_posterior)).sum()
        assert float(expected + evidence) == pytest.approx(float(gap), abs=1e-9) and gap > 0


def test_a_draw_of_the_code_has_the_moments_that_the_encoder_says():
    network = VariationalAutoencoder(pixels=5, width=4, code=3, activation="relu")
    network.decoder = network.head = nn.Identity()
    torch.manual_seed(0)
    x, noise = torch.rand(1, 5).expand(40_000, 5), torch.randn(40_000, 3)
    with torch.no_grad():
        z, mean, log_variance = network(x, noise)
    sigma = (0.5 * log_variance[0]).exp()
    torch.testing.assert_close(z, mean + sigma * noise)
    # five standard errors of a mean, and of a variance, of so many draws
    assert ((z.mean(0) - mean[0]).abs() < 5 * sigma / math.sqrt(len(z))).all()
    assert ((z.var(0) / sigma**2 - 1).abs() < 5 * math.sqrt(2 / len(z))).all()


def test_gradients_pass_through_the_draw():
    mean, log_variance = torch.zeros(3, requires_grad=True), torch.full((3,), 0.5, requires_grad=True)
    network = VariationalAutoencoder(pixels=5, width=4, code=3, activation="relu")
    network.encode = lambda x: (mean, log_variance)
    network.decode = lambda z: z.sum()
    noise = torch.tensor([1.0, -2.0, 0.0])
    network(torch.zeros(1, 5), noise)[0].backward()
    torch.testing.assert_close(mean.grad, torch.ones(3))
    torch.testing.assert_close(log_variance.grad, 0.5 * math.exp(0.25) * noise)


def test_the_forms_in_a_row_are_the_main_one():
    network, x, noise = tiny(), torch.rand(4, 784), torch.randn(4, 20)
    with torch.no_grad():
        drawn, mean, log_variance = network(x, noise)
        again = network.encode(x)
        torch.testing.assert_close(again, (mean, log_variance))
        torch.testing.assert_close(network.decode(mean + (0.5 * log_variance).exp() * noise), drawn)


def test_imitation_is_torchs_divergence_of_codes_and_pixels():
    student, teacher, task = outputs(seed=1), outputs(seed=2), bound(images())
    expected = kl_divergence(posterior(teacher), posterior(student)).sum(1) + kl_divergence(
        Bernoulli(logits=teacher["drawn"]), Bernoulli(logits=student["drawn"])
    ).sum(1)
    torch.testing.assert_close(task.imitation(student, teacher), expected.mean())
    assert float(task.imitation(teacher, teacher)) == pytest.approx(0, abs=1e-9)


def test_agreement_is_the_share_of_pixels_decided_alike():
    made, target = outputs(), numbered()
    other = {**made, "drawn": made["drawn"] * torch.tensor([1.0, 1, 1, -1, -1, -1])}
    score = bound(target).score(rowwise(other), reference=rowwise(made))
    assert (score.value, score.unit, score.higher_is_better) == (0.5, "agreement", True)
    assert bound(target).score(rowwise(made), reference=rowwise(made)).value == 1


def test_a_network_that_gives_no_numbers_needs_infinite_nats():
    made, target = outputs(), numbered()
    made["drawn"][3] = math.nan
    score = bound(target).score(rowwise(made))
    assert score.value == score.low == score.high == math.inf


def test_what_does_not_fit_is_said_in_a_sentence():
    with pytest.raises(
        DataError, match=r"pixels of train run from 0 to 255; .* must lie from 0 to 1. Divide bytes by 255"
    ):
        bound(np.array([[0.0, 255.0]], np.float32))
    with pytest.raises(DataError, match="needs an output 'log_variance', and the model gives drawn, mean"):
        bound(images()).score(lambda inputs: {"drawn": inputs["x"], "mean": inputs["x"]})


def test_another_batch_size_gives_the_same_score():
    made, target = outputs(), numbered()
    task = bound(target)
    other = task.with_batch_size(3)
    assert other.test.batch_size == 3 and replace(other, name="again").score(rowwise(made)).value == pytest.approx(
        task.score(rowwise(made)).value
    )
