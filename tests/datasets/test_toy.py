"""The toy law against SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from polyvae import datasets
from polyvae.datasets.toy import FEATURES, NOISE, linear_gaussian


def test_toy_evidence_is_the_multivariate_normal() -> None:
    law, data = linear_gaussian(3, seed=4), datasets.load("toy", modalities=3, seed=4, size=50)
    for given in (None, (2,), (0, 2)):
        chosen = given or (0, 1, 2)
        rows = torch.cat([data.values[f"m{m}"] for m in chosen], 1)
        truth = multivariate_normal(np.zeros(rows.shape[1]), law.covariance(given))
        np.testing.assert_allclose(law.log_evidence(rows.numpy(), given), truth.logpdf(rows.numpy()), rtol=1e-6)
        assert law.entropy(given) == pytest.approx(truth.entropy())


def test_toy_rows_have_the_stated_covariance() -> None:
    law, data = linear_gaussian(2), datasets.load("toy", modalities=2, size=100_000)
    rows = torch.cat([data.values["m0"], data.values["m1"]], 1).double()
    assert law.covariance().shape == (2 * FEATURES, 2 * FEATURES)
    np.testing.assert_allclose(rows.T.cov(), law.covariance(), rtol=0.03, atol=0.03)
    assert all(m.likelihood.scale == NOISE for m in data.modalities)
    assert torch.equal(datasets.load("toy", modalities=1, size=9).values["m0"], data.values["m0"][:9])
