"""Settings that suit the user's own data, where a config leaves them open. Measured: docs/applied.md."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from polyvae.config import OWN, RELEASED, RunConfig, Sizes, flag
from polyvae.modality import Modality

NETWORK, METHOD = "linear_mlp", "mopoe_dense"
MOST_VIEWS = 10  # of the method, whose S lists all subsets
STEPS = 4000
CODES = (8, 12, 16, 24, 32, 48, 64, 96, 128)  # with fewer, a linear model may do well where a trained one cannot


def suited(
    config: RunConfig, rows: int, modalities: Sequence[Modality], described: Mapping[str, str]
) -> dict[str, Any]:
    """The settings that `config` leaves open, by what the data are; none where it leaves open no size of `Sizes`.

    rows: for training, validation rows included. described: networks that the data themselves name, by modality.

    - latent_dim: one code per 16 rows, at most 64, and no more than features, unless the plan finds a number
      with which factor analysis fills in clearly better (`numbers_of_codes`).
    - batch_size: about 20 steps per epoch; steps of fewer than 16 rows are noise, of more than 256 no faster.
    - epochs: at most 4,000 steps, from 20 to 200 passes; training stops after an eighth of them without gain, or
      a quarter where weights are averaged: an average gains later.
    - learning_rate .001, for tables: their networks start from factor analysis, near where they end.
    - validation_fraction: 40 rows, which the intervals need, too; from a tenth to a quarter.
    - method, network: for tables those that start as factor analysis given any subset.
    - best_by: imputation, for tables beside another modality and no text. A bound is mostly about large tables.
    - average_epochs: a twentieth of the epochs where there are several tables. What single epochs fill in differs by
      more than few validation rows can tell. Below 40 epochs there is no average.
    """
    if config.dataset != OWN:
        return {}
    if not config.is_open:
        return {"method": RELEASED["method"]} if config.method == "auto" else {}
    tables = [m.name for m in modalities if m.is_table or m.is_classes]
    has_text = any(m.vocabulary is not None for m in modalities)
    is_tables, several = len(tables) == len(modalities), len(modalities) > 1
    batch = config.batch_size or min(max(2 ** round(math.log2(rows / 20)), 16), 256)
    epochs = config.epochs or min(max(STEPS * batch // rows, 20), 200)
    averaged = config.average_epochs or (epochs // 20 if is_tables and several else 1)
    is_dense = is_tables and 1 < len(modalities) <= MOST_VIEWS and config.posterior in ("auto", "normal")
    networks = [f"{name}={NETWORK}" for name in tables if name not in described]
    found = {
        "method": METHOD if is_dense else RELEASED["method"],
        "latent_dim": max(min(rows // 16, 64, _features(modalities)), 2) if is_tables else RELEASED["latent_dim"],
        "batch_size": batch,
        "epochs": epochs,
        "learning_rate": 1e-3 if is_tables else RELEASED["learning_rate"],
        "validation_fraction": round(min(max(0.1, 40 / rows), 0.25), 3),
        "network": ",".join(networks) or "auto",
        "best_by": "imputation" if several and any(m.is_real_table for m in modalities) and not has_text else "loss",
    }
    if config.validation_fraction != 0:
        found["patience"] = max(5, epochs // (4 if averaged > 1 else 8))
    if config.validation_fraction != 0 and averaged > 1:
        found["average_epochs"] = averaged
    return {name: value for name, value in found.items() if getattr(config, name) in (None, "auto")}


def numbers_of_codes(rows: int, modalities: Sequence[Modality], usual: int) -> list[int]:
    """Those to try: from 8 to 128, one per 4 rows, or as many as there are features; the usual one if that is less."""
    most = max(min(rows // 4, CODES[-1], _features(modalities)), usual)
    return sorted({*(codes for codes in CODES if codes < most), most, usual})


def _features(modalities: Sequence[Modality]) -> int:
    return sum(math.prod(m.shape) for m in modalities)


def said(
    found: Mapping[str, Any], config: RunConfig, rows: Mapping[str, int], tried: Mapping[str, Mapping[int, float]]
) -> str:
    """What was found, in one line; `config` holds it. rows: what for -> how many. tried: as `Plan` has it."""
    if set(found) == {"method"}:
        return (
            f"method {config.method}: with all of {', '.join(map(flag, Sizes._fields))} given, the data choose nothing"
        )
    stops = f", stops after {config.patience} without gain" if config.patience is not None else ""
    averages = f", weights averaged over {config.average_epochs}" if (config.average_epochs or 1) > 1 else ""
    codes, numbers = config.sizes.latent_dim, tried.get("latent_dim")
    reason = f" (of {min(numbers)} to {max(numbers)}, by cross-validation)" if numbers else ""
    parts = {
        "method": config.method,
        "latent_dim": f"{codes} latent dimension{'s' * (codes > 1)}{reason}",
        "batch_size": f"batch {config.sizes.batch_size}",
        "epochs": f"at most {config.sizes.epochs} epochs{stops}{averages}",
    }
    uses = ", ".join(f"{count:,} to {use}" for use, count in rows.items() if count)
    return f"{sum(rows.values()):,} rows: {uses}; {', '.join(text for name, text in parts.items() if name in found)}"
