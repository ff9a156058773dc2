"""A page in the browser on which to ask a trained model: what is given, and what it makes of the rest."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges.extractors import in_bytes
from polyvae.modality import Modality
from polyvae.models import TrainableModel
from polyvae.noise import derive_seed
from polyvae.pictures.pages import coloured

FEATURES = 200  # of a table, at most
DRAWS = 8
KEPT = 3600  # seconds that gradio keeps a picture


def page(model: TrainableModel, rows: MultimodalDataset, title: str) -> Any:
    """The page, a `gradio.Blocks`. Raises InputError where gradio is not installed."""
    try:
        gr: Any = import_module("gradio")
    except ImportError as error:
        raise InputError(f"the page needs gradio ({error}): pip install 'polyvae[app]'") from error

    def ask(row: int, given: Sequence[str], draws: int, seed: int) -> list[Any]:
        try:
            answers = answer(model, rows, int(row), given, int(draws), int(seed))
        except InputError as error:
            raise gr.Error(str(error)) from error
        return [shown(m, values) for m in model.modalities for values in answers[m.name]]

    first = [name for name, here in zip(model.names, rows.present[0].tolist(), strict=True) if here][:1]
    parts = iter(ask(0, first, DRAWS, 0))
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(KEPT, KEPT)) as blocks:
        gr.Markdown(f"# {title}")
        with gr.Row():
            row = gr.Slider(0, len(rows) - 1, 0, step=1, label="row")
            draws = gr.Slider(2, 50, DRAWS, step=1, label="draws")
            seed = gr.Slider(0, 100, 0, step=1, label="seed")
        given = gr.CheckboxGroup(list(model.names), value=first, label="given (nothing: from the prior)")
        outputs = []
        for modality in model.modalities:
            gr.Markdown(f"## {modality.name}")
            with gr.Row():
                outputs += [_component(gr, modality, label, next(parts)) for label in ("in the data", "by the model")]
        inputs = [row, given, draws, seed]
        gr.on([part.change for part in inputs], ask, inputs, outputs, show_progress="hidden")
    return blocks


def answer(
    model: TrainableModel, rows: MultimodalDataset, row: int, given: Sequence[str], draws: int, seed: int
) -> dict[str, tuple[Tensor | None, Tensor]]:
    """name -> what the row has of it (1, ...) or None, and what the model draws given `given` (draw, ...).

    In the units of the data. For images and text the likelihood's mean at each draw of the code, else a draw from
    it. Raises InputError for what the row does not have.
    """
    batch = rows.batch([row])
    has = dict(zip(model.names, batch.present[0].tolist(), strict=True))
    if lacking := [name for name in given if not has[name]]:
        raise InputError(f"row {row} has no {lacking[0]}; leave it out, or choose another row")
    source = rows.batch([row] * draws) if given else draws
    drawn = {}
    for decode in ("mean", "sample"):
        device = batch.present.device
        generator = torch.Generator(device).manual_seed(derive_seed(seed, "page"))  # the same codes both times
        drawn[decode] = model.generate(source, list(given) or None, decode=decode, generator=generator)
    return {
        m.name: (
            m.to_original(batch.values[m.name]) if has[m.name] else None,
            drawn["mean" if m.is_image or m.vocabulary else "sample"][m.name],
        )
        for m in model.modalities
    }


def shown(modality: Modality, values: Tensor | None) -> Any:
    """Values (draw, ...) as the page shows them: pictures, sentences, shares of classes, a line for each feature."""
    if values is None:
        return None
    if modality.is_image:
        return list((in_bytes(coloured(values)) * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy())
    if modality.vocabulary:
        return "\n".join(modality.vocabulary.decode(values))
    names = modality.feature_names or range(values.shape[1])
    if modality.is_classes:
        return dict(zip(map(str, names), values.double().mean(0).tolist(), strict=True))
    table = values[:, :FEATURES].double().cpu().numpy()
    low, high = np.nanquantile(table, (0.1, 0.9), axis=0)
    lines = np.stack([table.mean(0), low, high], 1).round(4).tolist()
    return [[name, *line] for name, line in zip(names[:FEATURES], lines, strict=True)]


def _component(gr: Any, modality: Modality, label: str, value: Any) -> Any:
    named = {"label": label, "value": value}
    if modality.is_image:
        return gr.Gallery(columns=4, height="auto", **named)
    if modality.vocabulary:
        return gr.Textbox(lines=3, **named)
    if modality.is_classes:
        return gr.Label(num_top_classes=5, **named)
    return gr.Dataframe(headers=["feature", "mean", "10 %", "90 %"], interactive=False, **named)
