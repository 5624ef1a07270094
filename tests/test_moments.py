from __future__ import annotations

import torch

from napari_dfc.moments import Moments


def test_statistics_keep_their_digits_where_the_mean_is_large() -> None:
    # a float32 sum of squares would keep no digit of the variance
    values = torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0)) + 1000
    values[:16_000] += 2  # strips that differ
    moments, full = Moments(full=False), Moments(full=True)
    for each in (moments, full):
        each.start()
        for part in values.split(16_000):
            each.add(part, None, torch.empty_like(part))
        each.finish()
        exact = values.double()
        torch.testing.assert_close(each.mean, exact.mean(0), rtol=2e-7, atol=0)
        torch.testing.assert_close(each.variance, exact.var(0, unbiased=False), rtol=1e-5, atol=0)
    torch.testing.assert_close(full.covariance, exact.T.cov(correction=0), rtol=1e-5, atol=1e-6)
