"""How normal the code of the variational autoencoder is over the whole test set, and what its bound is made of.

    python -m benchmarks.latent_moments [-o benchmarks/results/latent_moments.json]

The aggregate posterior is the mixture of all images' normal distributions, q(z) = mean over images of N(mean, sigma^2);
its moments follow from theirs in closed form. Where it is N(0, 1), a code drawn from N(0, 1) is one the decoder knows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documents import made_by, write
from export.session import torch_runner
from export.wrap import from_entry
from models import find
from models.generation import Bound
from models.records import Runner
from models.tasks import Array

RESULT = Path(__file__).parent / "results" / "latent_moments.json"


def moments(mean: Array, log_variance: Array) -> tuple[Array, Array]:
    """Mean (code,) and covariance (code, code) of the aggregate posterior, from those of each image, (images, code).

    Covariance by the law of total variance: the mean of the variances, and the covariance of the means.
    """
    covariance = np.cov(mean, rowvar=False, bias=True) + np.diag(np.exp(log_variance).mean(0))
    return mean.mean(0), covariance


def measure(runner: Runner, task: Bound) -> dict[str, Any]:
    """The parts of the bound on test, the errors of what is drawn, and the moments of the code."""
    means, log_variances, squares = [], [], []
    for inputs, target in task.test:
        outputs = runner(inputs)
        means.append(outputs["mean"].astype(np.float64))
        log_variances.append(outputs["log_variance"].astype(np.float64))
        drawn = 1 / (1 + np.exp(-outputs["drawn"].astype(np.float64)))
        squares.append(((drawn - target) ** 2).sum(1))
    mean, log_variance = np.concatenate(means), np.concatenate(log_variances)
    score = task.score(runner, "test")
    assert score.samples is not None
    pixels = task.test.target.shape[1]
    reconstruction, divergence = score.samples.mean(0)
    center, covariance = moments(mean, log_variance)
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviation, deviation) - np.eye(len(center))
    used = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(0)
    return {
        "images": score.n,
        "negative_bound_nats": score.value,
        "low": score.low,
        "high": score.high,
        "reconstruction_nats_per_image": float(reconstruction),
        "reconstruction_nats_per_pixel": float(reconstruction) / pixels,
        "squared_error_per_image": float(np.concatenate(squares).mean()),
        "squared_error_per_pixel": float(np.concatenate(squares).mean()) / pixels,
        "divergence_nats_per_image": float(divergence),
        "dimensions": [
            {"mean": round(float(m), 4), "variance": round(float(v), 4), "divergence_nats": round(float(d), 4)}
            for m, v, d in zip(center, np.diag(covariance), used, strict=True)
        ],
        "largest_mean": float(np.abs(center).max()),
        "smallest_variance": float(np.diag(covariance).min()),
        "largest_variance": float(np.diag(covariance).max()),
        "largest_correlation": float(np.abs(correlation).max()),
        "dimensions_used": int((used > 0.1).sum()),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Measure the committed weights and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(args)
    entry = find("vae")
    task: Any = entry.task(batch_size=500)
    document = {
        "schema": 1,
        "model": entry.name,
        **measure(torch_runner(from_entry(entry)), task),
        **made_by("python -m benchmarks.latent_moments"),
    }
    write(document, given.output)
    print(json.dumps({k: v for k, v in document.items() if isinstance(v, int | float)}, indent=1))


if __name__ == "__main__":
    main()
