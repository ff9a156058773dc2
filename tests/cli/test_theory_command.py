"""`polyvae theory`: what it prints, writes and refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

import polyvae as pv
from polyvae import theory
from polyvae.audits import audit as audits
from polyvae.cli import main


def test_discrepancy_of_a_table_and_its_own_mixture(tmp_path, capsys):
    law = theory.generator("random", 3, 2, seed=1)
    np.save(tmp_path / "law.npy", law.table)
    S = pv.subsets.custom([(("m0", "m1"), 0.5), (("m2",), 0.5)], law.names)
    (tmp_path / "S.json").write_text(json.dumps(pv.subsets.to_json(S)))
    out = tmp_path / "out.json"
    arguments = ["--subsets", str(tmp_path / "S.json"), "--beta", "0.3", "--out", str(out)]
    main(["theory", "discrepancy", str(tmp_path / "law.npy"), *arguments])
    found = json.loads(out.read_text())["methods"]
    assert found["custom"]["delta"] == pytest.approx(theory.discrepancy(law, S))
    assert found["mmvae"]["beta_gap"] == pytest.approx(theory.beta_gap(law, pv.subsets.mmvae(law.names), 0.3))
    assert f"{found['mopoe']['delta']:.3f}" in capsys.readouterr().out


def test_tradeoff_writes_sets_that_train(tmp_path):
    main(["theory", "tradeoff", "symbols", "--points", "3", "--out", str(tmp_path / "mixes.json"), "--quiet"])
    middle = json.loads((tmp_path / "mixes.json").read_text())[1]
    flags = ["--network", "mlp", "--latent-dim", "2", "--epochs", "1", "--metrics", "none", "--threads", "1", "--quiet"]
    own = ["--method", "custom", "--subsets", str(tmp_path / "mixes.2.json"), "--store", str(tmp_path / "runs")]
    main(["run", "--dataset", "symbols", *own, *flags])
    (folder,) = (tmp_path / "runs").glob("symbols-custom-*")
    assert json.loads(json.loads((folder / "config.json").read_text())["subsets"]) == middle["subsets"]["terms"]
    found = pv.audit(folder)
    assert found.delta == pytest.approx(middle["delta"])


def test_audit_prints_lines_and_fails_on_a_violation(tmp_path, capsys, monkeypatch):
    config = pv.RunConfig(
        dataset="symbols", method="mmvae", network="mlp", latent_dim=2, epochs=1, metrics="none", threads=1
    )
    result = pv.run(config, tmp_path)
    main(["theory", "audit", result.run_id, "--store", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "D >= Delta" in shown
    assert "eq. 4" in shown
    truth = audits.truth_of
    monkeypatch.setattr(audits, "truth_of", lambda plan: ninefold(truth(plan)))
    with pytest.raises(SystemExit) as status:
        main(["theory", "audit", result.run_id, "--store", str(tmp_path)])
    assert status.value.code == 1
    assert "violates line" in capsys.readouterr().err


def ninefold(truth):
    return replace(truth, entropies=theory.Entropies(truth.entropies.names, truth.entropies.values * 9))


def test_estimate_writes_both_ends_with_reasons(tmp_path, capsys):
    rows = theory.generator("independent", 2, 2, seed=1).draw(1000, np.random.default_rng(0))
    np.savez(tmp_path / "own.npz", **{name: values.astype(float) for name, values in rows.items()})
    out = tmp_path / "out.json"
    main(["theory", "estimate", "--data", str(tmp_path / "own.npz"), "--out", str(out)])
    delta = json.loads(out.read_text())["delta"]["mmvae"]
    assert delta["lower"]["value"] < delta["upper"]["value"]
    assert delta["lower"]["reason"] in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        [{"given": ["m0"], "weight": 1}],
        {"names": ["m0"], "terms": [{"given": ["m0"], "weight": "much"}]},
        {"terms": "powerset"},
        {"names": ["m0"], "terms": 3},
    ],
)
def test_a_file_that_is_no_s(content, tmp_path, capsys):
    (tmp_path / "S.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as status:
        main(["theory", "discrepancy", "xor", "--subsets", str(tmp_path / "S.json")])
    assert status.value.code == 2
    assert 'S.json: S must be {"names": ["m0", ...], "terms"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimate"], "--data FILE"),
        (["audit"], "theory audit RUN"),
        (["discrepancy", "nowhere"], "no law is known"),
        (["discrepancy", "missing.npy"], "missing.npy"),
        (["discrepancy", "xor", "--scale", "0.5"], "no option 'scale'"),
        (["discrepancy", "toy", "--scale", "0.5"], "no option 'scale'"),
        (["discrepancy", "toy", "--modalities", "30"], "there may be 20"),
        (["discrepancy", "xor", "--modalities", "0"], "at least 1"),
        (["tradeoff", "xor", "--least-share", "nan"], "least share nan"),
    ],
)
def test_bad_arguments_end_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as status:
        main(["theory", *arguments])
    assert status.value.code == 2
    assert message in capsys.readouterr().err
