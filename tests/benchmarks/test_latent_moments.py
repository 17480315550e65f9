import json
import os

import numpy as np
import pytest
import torch

from benchmarks.latent_moments import RESULT, measure, moments
from export.session import torch_runner
from export.wrap import from_entry
from models import find

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


def test_moments_are_those_of_draws_from_the_mixture():
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((50, 3)) @ np.array([[1.0, 0.5, 0], [0, 0.3, 0], [0, 0, 2]]) + [0.5, -1, 0]
    log_variance = rng.standard_normal((50, 3))
    center, covariance = moments(mean, log_variance)
    image = rng.integers(0, 50, 200_000)
    z = mean[image] + np.exp(0.5 * log_variance[image]) * rng.standard_normal((len(image), 3))
    # five standard errors of a mean; a variance of these heavier tails is known to about two percent
    assert (np.abs(z.mean(0) - center) < 5 * np.sqrt(np.diag(covariance) / len(z))).all()
    np.testing.assert_allclose(np.cov(z, rowvar=False), covariance, atol=0.02 * np.diag(covariance).max())


def check(document):
    """Of N(0, 1): a mean within a fifth of a standard deviation and a variance within a fifth, in every dimension."""
    assert len(document["dimensions"]) == 20 and document["images"] == 10_000
    for dimension in document["dimensions"]:
        assert abs(dimension["mean"]) < 0.2
        assert 0.8 < dimension["variance"] < 1.2
    assert document["dimensions_used"] >= 10, "a code that says nothing is normal too"
    assert document["divergence_nats_per_image"] == pytest.approx(
        sum(dimension["divergence_nats"] for dimension in document["dimensions"]), abs=1e-3
    )
    assert document["reconstruction_nats_per_image"] + document["divergence_nats_per_image"] == pytest.approx(
        document["negative_bound_nats"]
    )


def test_the_committed_result_says_that_the_code_is_normal():
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    check(document)
    assert {"machine", "versions", "command", "made"} <= set(document)
    assert document["negative_bound_nats"] == pytest.approx(find("vae").golden.value, abs=5e-3)


@here
def test_the_code_of_the_committed_weights_is_normal_over_the_test_set():
    entry = find("vae")
    with torch.inference_mode():
        found = measure(torch_runner(from_entry(entry)), entry.task(batch_size=500))
    check(found)
    committed = json.loads(RESULT.read_text(encoding="utf-8"))
    assert found["squared_error_per_pixel"] == pytest.approx(committed["squared_error_per_pixel"], rel=1e-3)
