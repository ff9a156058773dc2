"""Pretrained extractors: true weights, refusal of others."""

import pytest
import torch

from polyvae.errors import InputError
from polyvae.judges import pretrained


def test_effnet_runs_with_its_true_weights():
    extractor = pretrained.effnet()
    images = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    features, probabilities = extractor.read("m0", images)
    assert features.shape == (3, 1280)
    assert probabilities is None
    again, _ = extractor.read("m0", images[1:2])
    torch.testing.assert_close(again, features[1:2], rtol=1e-4, atol=1e-5)
    grey, _ = extractor.read("m0", images[:, :1])
    assert not torch.allclose(grey, features)
    with pytest.raises(InputError, match="2 channels"):
        extractor.read("m0", images[:, :2])


def test_altered_or_missing_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "EFFNET_SHA256", "0" * 64)
    with pytest.raises(InputError, match="does not hold the published weights"):
        pretrained.effnet()
    monkeypatch.setattr(pretrained, "EFFNET_PACKAGES", ("no_such_package",))
    with pytest.raises(InputError, match=r"polyvae\[effnet\]"):
        pretrained.effnet()
    monkeypatch.delenv("POLYVAE_INCEPTION", raising=False)
    with pytest.raises(InputError, match="needs the published weights"):
        pretrained.inception()
    served = tmp_path / "served"
    served.write_bytes(b"anything")
    monkeypatch.setattr(pretrained, "INCEPTION_URL", served.as_uri())
    with pytest.raises(InputError, match=r"cannot download .*wrong SHA-256.*by hand"):
        pretrained.download_inception(tmp_path)
    assert not (tmp_path / pretrained.INCEPTION_FILE).exists()
    forged = tmp_path / pretrained.INCEPTION_FILE
    forged.write_bytes(b"anything")
    with pytest.raises(InputError, match="is not pt_inception"):
        pretrained.inception(forged)
