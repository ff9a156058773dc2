"""A config resolved against its data. Contradictions are found here, before compute is spent."""

import copy
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch

from polyvae import datasets, likelihoods, metrics, models, networks, subsets
from polyvae.attributes import Attribute
from polyvae.config import RunConfig, by_modality, listed
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges import pretrained
from polyvae.judges.labelled import can_be_judged
from polyvae.methods import METHODS, Method
from polyvae.modality import Batch, Modality
from polyvae.models import OWN, Blueprint, Networks, TrainableModel
from polyvae.models.contract import further_experts_of
from polyvae.models.linear_start import LEAST_ROWS, codes_by_errors, start_linearly
from polyvae.noise import derive_seed
from polyvae.objectives import check_covered, check_recipe, objective_named
from polyvae.options import canonical, parsed
from polyvae.runs import rows
from polyvae.runs.settings import Settings, check_objectives, settings_of
from polyvae.runs.suited import NETWORK, numbers_of_codes, said, suited
from polyvae.subsets import SubsetMixture

DEVICE = re.compile("cpu|(cuda|mps|xpu)(:[0-9]{1,3})?")


@dataclass(frozen=True, eq=False)
class Plan:
    """What one run will do, from its data to its model.

    content: identity of the whole data set, for those who compare runs; identity: what the run id adds to the config.
    chosen: settings of `config` that the data have chosen, as the user left them open. tried: of those that were chosen
    by their errors, setting -> value -> error (`models.linear_start.codes_by_errors`).
    rows_at: epoch -> training data of that epoch (new ones for fresh pairing). validation, test: held-out data. All
    lie on `device`. Where rows are in files, those for validation and test are the sample that is held in memory.
    counts: what for -> how many rows there are, of which such a sample is a part.
    whole_train, whole_test: all of them, with the modalities that the run leaves out.
    attributes: what captions name. sampler: the data set's generator, if it has one.
    """

    config: RunConfig
    run_id: str
    content: str
    identity: dict[str, Any]
    chosen: dict[str, Any]
    tried: dict[str, dict[int, float]]
    method: Method
    settings: Settings
    blueprint: Blueprint
    rows_at: Callable[[int], MultimodalDataset]
    validation: MultimodalDataset | None
    test: MultimodalDataset
    counts: dict[str, int]
    whole_train: MultimodalDataset
    whole_test: MultimodalDataset
    attributes: tuple[Attribute, ...]
    sampler: datasets.Sampler | None
    metrics: tuple[str, ...]
    device: torch.device

    @property
    def train(self) -> MultimodalDataset:
        """The training data, as the first epoch shows them."""
        return self.rows_at(0)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self.blueprint.modalities

    @cached_property
    def has_judge(self) -> bool:
        """Whether a judge can tell what samples show, from a generator, captions or labels."""
        return self.sampler is not None or bool(self.attributes) or can_be_judged(self.whole_train, self.whole_test)

    @property
    def mixture(self) -> SubsetMixture:
        """S."""
        return self.blueprint.mixture

    @property
    def threads(self) -> int:
        return self.config.threads or 1

    @property
    def is_said(self) -> str:
        """The settings that the data have chosen, and how rows are read, in one line; empty for none."""
        parts = [said(self.chosen, self.config, self.counts, self.tried)] if self.chosen else []
        if self.train.in_files:
            scored = f"{len(self.test):,} of {self.counts['test']:,} test rows are scored"
            parts.append(f"rows are read from files by batch; {scored}")
        return "; ".join(parts)

    def lack(self, metric: str) -> str | None:
        """What the data lack for a metric, or None."""
        lack = metrics.unmet(metric, self.test)
        if lack is None and metrics.METRICS[metric].needs == "judge" and not self.has_judge:
            return f"data set {self.test.name!r} has no judge"
        return lack

    def build(self) -> TrainableModel:
        """The untrained model, on the plan's device."""
        blueprint = replace(self.blueprint, seed=self.config.seed, pseudo_inputs=self._pseudo_inputs())
        model = models.build(blueprint)
        start_linearly(model, self.train, self.config.seed)
        return model.to(self.device)

    def _pseudo_inputs(self) -> Batch | None:
        """Training rows, drawn by the run's seed, where the prior starts from some."""
        if self.settings.prior != "vamp":
            return None
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "weights", "prior"))
        chosen = torch.randperm(len(self.train), generator=generator)[: self.settings.components]
        rows = self.train.batch(chosen).to("cpu")
        # They are learned, so missing cells start at 0, the mean of a standardised feature.
        return rows._replace(values={name: value.nan_to_num() for name, value in rows.values.items()})


def make_plan(
    config: RunConfig,
    data: MultimodalDataset | None = None,
    own: Networks | None = None,
    test: MultimodalDataset | None = None,
) -> Plan:
    """Loads (or reuses) the data and checks every name and number of `config` against them.

    data: the user's own data set in place of `config.dataset`, for which they choose the settings that are left open if
    that is "arrays". test: its test rows; by default, a part of `data`. own: networks by modality name.
    Raises InputError, naming the flag, for anything that cannot work.
    """
    wanted = metrics.metric_names(config.metrics, pretrained.installed())
    device = device_named(config.device)
    for given in (data, test):
        rows.check_is_dataset(given)
    named = {} if data is None else {"dataset": data.name}
    whole_train, whole_test = rows.load_splits(config.with_(**named), data, test)
    chosen = _suited(config, whole_train)  # before other data than "arrays" get the released settings
    config = _canonical(config.with_(**named, **chosen))
    method = METHODS.named(config.method)
    is_own = data is not None or config.dataset == "arrays"
    by_content = is_own or config.dataset in datasets.DATASETS.origins
    sampler = rows.sampler_of(config, data)
    train, test = (rows.narrowed(part, config, method) for part in (whole_train, whole_test))
    train, test = rows.scored(train, config, train), rows.scored(test, config, train)
    blueprint, settings = _blueprint(config, method, train, len(whole_train.modalities), own or {})
    attributes = () if data is not None else datasets.DATASETS[config.dataset].attributes
    check_covered(blueprint.mixture, train.present, "training row")
    check_covered(blueprint.mixture, test.present, "test row")
    identity = _identity(config, train, test, by_content, method, blueprint, settings)
    train, validation = rows.with_validation(train, config, is_own)
    _check_pseudo_inputs(settings, train)
    errors = {}
    if "latent_dim" in chosen and not method.is_single:  # which has its share of the config's number
        codes, errors = _codes_by_errors(blueprint, train, config.data_seed)
        chosen |= {"latent_dim": codes}
        config, blueprint = config.with_(latent_dim=codes), replace(blueprint, latent_dim=codes)
    plan = Plan(
        config=config,
        run_id=config.run_id(identity),
        content=rows.identity_of(whole_train, whole_test, by_content),
        identity=identity,
        chosen=chosen,
        tried={"latent_dim": errors} if errors else {},
        method=method,
        settings=settings,
        blueprint=blueprint,
        rows_at=rows.rows_by_epoch(rows.on_device(train, device), config, sampler),
        validation=None if validation is None else rows.on_device(validation.held(config.data_seed), device),
        test=rows.on_device(test.held(config.data_seed), device),
        counts={"train": len(train), "validate": len(validation or ()), "test": len(test)},
        whole_train=whole_train,
        whole_test=whole_test,
        attributes=attributes,
        sampler=sampler,
        metrics=wanted,
        device=device,
    )
    _check_metrics(plan)
    return plan


def make_plans(configs: Iterable[RunConfig | Plan]) -> list[Plan]:
    """One plan per config, as from `make_plan`; runs that differ only in seed and beta are checked once.

    A plan stands for itself.
    """
    by_kind: dict[RunConfig, Plan] = {}
    plans = []
    for config in configs:
        if isinstance(config, Plan):
            plans.append(config)
            continue
        seed = config.seed if config.pairing == "fresh" else 0  # new rows are drawn by the seed
        kind = config.with_(seed=seed, beta=1.0)
        if kind not in by_kind:
            by_kind[kind] = make_plan(config)
        plan = by_kind[kind]
        config = _canonical(config.with_(**plan.chosen))
        plans.append(replace(plan, config=config, run_id=config.run_id(plan.identity)))
    return plans


def device_named(name: str) -> torch.device:
    """The device of `--device`. Raises InputError when this machine has no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not DEVICE.fullmatch(name):
        raise InputError(f"--device {name}: unknown; use auto, cpu, cuda, cuda:1, mps or xpu")
    try:
        device = torch.device(name)
        torch.zeros((), device=device, dtype=torch.float64).item()  # mps has none
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"--device {name}: not available here ({str(error).splitlines()[0]}); use auto or cpu"
        ) from error
    return device


def _mixture(config: RunConfig, method: Method, names: tuple[str, ...]) -> SubsetMixture:
    if (method.mixture is None) != (config.subsets is not None):
        raise InputError("--subsets FILE.json and --method custom go together; give both or neither")
    if method.mixture is not None:
        return method.mixture(names)
    try:
        return subsets.from_text(str(config.subsets), names)
    except InputError as error:
        raise InputError(f"--subsets: {error}") from error


def _blueprint(
    config: RunConfig, method: Method, train: MultimodalDataset, modalities: int, own: Networks
) -> tuple[Blueprint, Settings]:
    """modalities: of the whole data set; a method of one modality has its share of the config's latent dimensions."""
    mixture = _mixture(config, method, train.names)
    given = parsed(config.method_options, method.options, "--method-options", f"method {method.name!r}")
    options = {} if method.options is None else asdict(method.options(**given))
    recipe = method.terms_for(options)
    settings = settings_of(config, method, mixture, recipe)
    check_objectives(method, settings)
    if recipe is not None:
        check_recipe(recipe, train.names, train.present, further_experts_of(models.MODELS.named(method.model)))
    blueprint = Blueprint(
        modalities=train.modalities,
        mixture=mixture,
        latent_dim=max(1, config.sizes.latent_dim // modalities) if method.is_single else config.sizes.latent_dim,
        networks=_network_names(config, train, own),
        kind=method.model,
        options=options,
        own=own,
        covariate=train.covariate,
    )
    _check_covariate(blueprint, method)
    if settings.prior is not None and settings.family is not None:
        components = {} if settings.components is None else {"components": settings.components}
        blueprint = replace(blueprint, prior={"kind": settings.prior, **components}, family=settings.family)
    with models.without_numbers():
        blueprint.pairs()
        if blueprint.kind in models.RULES:
            models.RULES[blueprint.kind](blueprint)
    _check_networks(blueprint, train)
    return blueprint, settings


def _identity(
    config: RunConfig,
    train: MultimodalDataset,
    test: MultimodalDataset,
    by_content: bool,
    method: Method,
    blueprint: Blueprint,
    settings: Settings,
) -> dict[str, Any]:
    """What a config only names: the data's content and the networks they ask for; own S, networks and code; arithmetic
    of an objective or a method that has changed since its first runs."""
    names = blueprint.networks
    identity: dict[str, Any] = {"data": rows.identity_of(train, test, by_content)}
    if described := {name: names[name] for name in train.info.get("networks", {}) if name in names}:
        identity["described_networks"] = described
    identity |= {"subsets": subsets.to_json(blueprint.mixture)} if method.mixture is None else {}
    identity |= {"networks": _networks_identity(blueprint.own)} if blueprint.own else {}
    if settings.objective is not None and (revision := objective_named(settings.objective).revision) > 1:
        identity["objective_revision"] = revision
    if method.revision > 1:
        identity["method_revision"] = method.revision
    if config.best_by == "imputation" and not all(m.is_real_table or m.vocabulary for m in train.modalities):
        identity["imputation_revision"] = 2  # 1 did not look at these
    plugins = plugins_behind(config, blueprint)
    return identity | ({"plugins": sorted(plugins)} if plugins else {})


def plugins_behind(config: RunConfig, blueprint: Blueprint) -> dict[str, str]:
    """SHA-256 -> file name of the plug-ins that change what this run trains."""
    kinds = {likelihoods.to_json(modality.likelihood)["kind"] for modality in blueprint.modalities}
    return (
        METHODS.origins_of([config.method])
        | models.MODELS.origins_of([blueprint.kind])
        | datasets.DATASETS.origins_of([config.dataset])
        | networks.NETWORKS.origins_of(blueprint.networks.values())
        | likelihoods.LIKELIHOODS.origins_of(kinds)
    )


def _suited(config: RunConfig, train: MultimodalDataset) -> dict[str, Any]:
    """What suits the modalities that the run is of."""
    only = None if config.only is None else listed(config.only)
    modalities = [m for m in train.modalities if only is None or m.name in only]
    return suited(config, len(train), modalities, train.info.get("networks", {}))


def _codes_by_errors(blueprint: Blueprint, train: MultimodalDataset, seed: int) -> tuple[int, dict[int, float]]:
    """The number of codes of a model whose networks all start as factor analysis, and the errors of those tried.

    The blueprint's own number, and no errors, for any other model, and for fewer than 40 rows.
    """
    usual = blueprint.latent_dim
    if set(blueprint.networks.values()) != {NETWORK} or len(train) < LEAST_ROWS:
        return usual, {}
    reader = models.build(replace(blueprint, prior={"kind": "normal"}))  # which needs no rows to start from
    numbers = numbers_of_codes(len(train), train.modalities, usual)
    return codes_by_errors(reader, train, numbers, usual, seed)


def _canonical(config: RunConfig) -> RunConfig:
    """The config with options in canonical form, without those at their defaults, which run ids leave out."""
    if config.method_options is not None:
        options = METHODS.named(config.method).options
        config = config.with_(
            method_options=canonical(config.method_options, options, "--method-options", f"method {config.method!r}")
        )
    return config


def _check_pseudo_inputs(settings: Settings, train: MultimodalDataset) -> None:
    if settings.prior == "vamp" and len(train) < (settings.components or 0):
        raise InputError(
            f"--prior vamp starts from {settings.components} training rows, but there are only {len(train)}; "
            f"use --prior-components {len(train)} or fewer"
        )


def _check_metrics(plan: Plan) -> None:
    """Metrics asked for by name must be defined here; for `default` and `all`, the record notes undefined ones."""
    asked, test = listed(plan.config.metrics), plan.test
    if plan.metrics and len(test) < 2 and {"default", "all"} & set(asked):
        raise InputError("--test-size is 1; metrics need at least 2 test rows (or use --metrics none)")
    for name in plan.metrics:
        if name in asked and (lack := plan.lack(name)) is not None:
            raise InputError(f"--metrics {name}: {lack}; leave it out")
        source = pretrained.EXTRACTORS.get(metrics.METRICS[name].needs or "")
        if source is not None and not source.is_at_hand():
            source.load()  # raises the error that says how to get it


def _network_names(config: RunConfig, data: MultimodalDataset, own: Networks) -> dict[str, str]:
    described = data.info.get("networks", {})
    names = {m.name: described.get(m.name, networks.default(m)) for m in data.modalities}
    names |= by_modality(config.network, tuple(names), "network")
    if unknown := sorted(set(own) - set(names)):
        raise InputError(f"networks for unknown modality {unknown[0]!r}; the data has {', '.join(names)}")
    return names | dict.fromkeys(own, OWN)


def _check_covariate(blueprint: Blueprint, method: Method) -> None:
    """Raises InputError where a kind of model, or a network, cannot be told the level of the covariate."""
    if blueprint.covariate is None:
        return
    name = blueprint.covariate.name
    if not models.MODELS.named(blueprint.kind).takes_covariate:
        raise InputError(f"--covariate {name}: method {method.name} takes none; use mvae, mopoe, mvtcae or mmvae_plus")
    if blueprint.own:
        raise InputError(f"--covariate {name}: your own networks cannot read it; choose others with --network")


def _check_networks(blueprint: Blueprint, data: MultimodalDataset) -> None:
    """Tries the user's networks on two rows: a wrong shape could be broadcast unnoticed."""
    batch, latent_dim = data.batch([0, 0]), models.MODELS.named(blueprint.kind).network_dim(blueprint)
    for modality in blueprint.modalities:
        name, network = modality.name, blueprint.networks[modality.name]
        if network == OWN:
            pair = copy.deepcopy(blueprint.own[name])
        elif network in networks.NETWORKS.origins:
            pair = networks.build(network, modality, latent_dim)
        else:
            continue
        encoder, decoder = (module.to("cpu").eval() for module in pair)
        place = f"networks[{name!r}]" if network == OWN else f"network {network!r} of {name!r}"
        try:
            with torch.no_grad():
                mean, logvar = encoder(batch.values[name])
                params = decoder(torch.zeros(2, latent_dim))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{place} fail on two rows of the data: {error}") from error
        if not mean.shape == logvar.shape == (2, latent_dim):
            shapes = f"{tuple(mean.shape)} and {tuple(logvar.shape)}"
            raise InputError(f"the encoder of {name!r} gives {shapes} for 2 rows, not {(2, latent_dim)} each")
        if params.shape != (2, *modality.shape):
            wanted = (2, *modality.shape)
            raise InputError(f"the decoder of {name!r} gives {tuple(params.shape)} for 2 rows, not {wanted}")


def _networks_identity(own: Networks) -> str:
    digest = hashlib.sha256()
    for name, pair in sorted(own.items()):
        for module in pair:
            digest.update(f"{name} {module!r}".encode())
            for key, value in module.state_dict().items():
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
