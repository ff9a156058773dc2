"""The model card of a finished run: Markdown, under metadata that hubs of models read."""

import json
from collections.abc import Iterable, Sequence

from polyvae.modality import ModalityFile
from polyvae.runs.record import Record

TAGS = ("multimodal", "variational-autoencoder")


def model_card(record: Record, modalities: Sequence[ModalityFile], pictures: Sequence[str], license: str) -> str:
    """What the model is, what it was trained on, its metrics, and how to load it.

    modalities: of model.json. pictures: files beside the card. license: an SPDX identifier in lower case, as hubs
    know them (apache-2.0, cc-by-4.0), `other` or `unknown`.
    The metadata is YAML whose values are written as JSON, which is YAML, too.
    """
    return "\n\n".join(filter(None, [_metadata(record, license), _body(record, modalities), _metrics(record),
                                     _samples(pictures), _use(record)])) + "\n"  # fmt: skip


def _metadata(record: Record, license: str) -> str:
    config = record.config
    results = {
        "task": {"type": "multimodal-generation"},
        "dataset": {"name": config.dataset, "type": config.dataset},
        "metrics": [{"type": key, "value": value} for key, value in record.metrics.items()],
    }
    fields = {"license": license, "library_name": "polyvae", "tags": [*TAGS, config.method]}
    if record.metrics:  # an index without a number is refused
        fields["model-index"] = [{"name": record.run_id, "results": [results]}]
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---"])


def _body(record: Record, modalities: Sequence[ModalityFile]) -> str:
    config, resolved, version = record.config, record.resolved, record.environment.get("versions", {}).get("polyvae")
    facts = {
        "method": config.method,
        "beta": f"{config.beta:g}",
        "latent dimensions": resolved.latent_dim,
        "parameters": resolved.parameters,
        "steps of training": resolved.steps,
        "data set": _line(config.dataset),
        "training rows": resolved.train_rows,
        "test rows": resolved.test_rows,
        "SHA-256 of the data's content or recipe": resolved.data,
        "made with polyvae": version,
    }
    views = [(m["name"], " x ".join(map(str, m["shape"])), m["likelihood"]["kind"]) for m in modalities]
    return "\n\n".join(
        [
            f"# {record.run_id}",
            f"A multimodal VAE of {', '.join(name for name, *_ in views)}.",
            _table(("", ""), ((name, value) for name, value in facts.items() if value is not None)),
            _table(("modality", "shape", "likelihood"), views),
        ]
    )


def _metrics(record: Record) -> str:
    numbers = ((f"`{key}`", f"{value:.6g}") for key, value in sorted(record.metrics.items()))
    parts = ["## Metrics", "On test rows; likelihoods and bounds in nats per example. `polyvae metrics` explains them."]
    parts += [_table(("metric", "value"), numbers)] if record.metrics else ["None was scored."]
    parts += ["Beware:", "\n".join(f"- `{name}`: {_line(text)}" for name, text in record.doubts.items())]
    return "\n\n".join(parts if record.doubts else parts[:-2])


def _samples(pictures: Sequence[str]) -> str:
    return "\n\n".join(["## Samples", *(f"![{path}]({path})" for path in pictures)]) if pictures else ""


def _use(record: Record) -> str:
    code = f'import polyvae as pv\n\nmodel = pv.load("{record.run_id}")  # this folder\nmodel.generate(10)'
    plugins = "".join(f"\n\nLoad the plug-in `{name}` before it." for name in record.resolved.plugins.values())
    return f"## Use\n\n```python\n{code}\n```{plugins}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(_line(str(value)).replace('|', chr(92) + '|') for value in row)} |" for row in lines
    )


def _line(text: str) -> str:
    """A user's text on one line."""
    return " ".join(text.split())
