"""The table of methods: a name, its S, its objective, its source.

Members of the family differ in S alone. A method outside the family gets its own file here, with its recipe of terms or
another objective, its kind of model if it needs one, and a row below; a user's own is passed to `register`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from polyvae import subsets
from polyvae.methods import crmvae, jmvae, mmjsd, mmvm, mvtcae
from polyvae.methods.mvae_plus_random import elbo_with_random_subsets
from polyvae.objectives import Bound, Q, Recipe, Terms, objective_named
from polyvae.options import check_defaults
from polyvae.posteriors import Family
from polyvae.registry import Registry
from polyvae.subsets import SubsetMixture

Objective = Callable[..., Bound]


@dataclass(frozen=True)
class Stage:
    """One phase of training: what is minimised, over which parameters, for which share of the epochs.

    objective: None for the run's own (`Method.objective`, or what its config says). One of your own is called as
    objective(model, batch, S, beta=..., weights=..., generator=...) and returns a `Bound`; weights: (modality,). For a
    joint model it also gets allocation=, and samples= if `Method.objective` draws some.
    """

    name: str = "train"
    objective: Objective | None = None
    share: float = 1.0
    parameters: Callable[[nn.Module], Iterable[nn.Parameter]] = nn.Module.parameters


@dataclass(frozen=True)
class Method:
    """A row of the table. `mixture` makes S from the modality names; None: the user's own S.

    objective, samples (K, if it draws any), allocation, prior and family of posteriors are defaults: a run's config may
    say otherwise. is_single: for one modality, with its share of the latent dimensions.
    recipe: what a row is trained by, called with the names of what it has and the method's options; None: `objective`.
    With a recipe S only says how posteriors are formed at test time, and is_bound whether log p(x) is bounded.
    model: the kind of model that it trains (`models.MODELS`); one that is not joint needs an objective in every stage,
    and leaves no choice of prior, posterior or allocation. options: a frozen dataclass of settings of its own with
    defaults, which --method-options changes; the model's blueprint holds them.
    """

    name: str
    mixture: Callable[[Sequence[str]], SubsetMixture] | None
    summary: str
    source: str
    stages: tuple[Stage, ...] = (Stage(),)
    objective: str = "elbo"
    samples: int = 8
    allocation: str = "systematic"
    prior: str = "normal"
    family: Family = field(default_factory=Family)
    is_single: bool = False
    model: str = "joint"
    options: type[Any] | None = None
    recipe: Callable[[tuple[str, ...], Any], Terms] | None = None
    is_bound: bool = True

    def terms_for(self, options: Mapping[str, Any]) -> Recipe | None:
        """The recipe with these options. Raises InputError for values that they cannot have."""
        if (recipe := self.recipe) is None:
            return None
        chosen = None if self.options is None else self.options(**options)
        return lambda names: recipe(names, chosen)


MMVAE_OFFICIAL = Method(
    "mmvae_official",
    subsets.mmvae,
    "as mmvae, trained as the published code does",
    "Shi et al. 2019",
    objective="dreg_looser_official",
    samples=30,  # of the published README
    allocation="exact",
    prior="learned_laplace",
    family=Family("laplace", "softmax"),
)
_OF_PAPER = (
    Method("unimodal", subsets.mmvae, "one modality alone: S = {{1}}", "Kingma & Welling 2014", is_single=True),
    Method("mvae", subsets.mvae, "product of all experts: S = {all}", "Wu & Goodman 2018, without sub-sampling"),
    Method("mvae_plus", subsets.mvae_plus, "MVAE with ELBO sub-sampling: L(x) + sum L(x_i)", "eq. 84"),
    Method(
        "mvae_plus_random",
        subsets.mvae_plus,
        "mvae_plus and 2 random subsets a step, each predicting itself",
        "Wu & Goodman 2018, eq. 5",
        (Stage(objective=elbo_with_random_subsets),),
    ),
    Method("mmvae", subsets.mmvae, "mixture of single experts: S = {{1}, ..., {M}}", "Shi et al. 2019, ELBO form"),
    Method("mopoe", subsets.mopoe, "mixture of products: S = all 2^M - 1 subsets", "Sutter et al. 2021"),
    MMVAE_OFFICIAL,
    replace(
        MMVAE_OFFICIAL,
        name="unimodal_dreg",
        summary="one modality alone, trained as mmvae_official",
        source="Daunhawer et al. 2022, figure 12",
        is_single=True,
    ),
)
MVTCAE = Method(
    "mvtcae",
    subsets.whole,
    "product of experts, which each of them is to follow: total correlation",
    "Hwang et al. 2021",
    recipe=mvtcae.recipe,
    options=mvtcae.Options,
    is_bound=False,
)
_OF_TERMS = (
    MVTCAE,
    replace(
        MVTCAE,
        name="mvtcae_over_messages",
        summary="mvtcae; at test time each expert holds 1 / M of the prior",
        source="Hwang et al. 2021; docs/methods.md",
        model="messages",
    ),
    Method(
        "crmvae",
        subsets.whole,
        "as mvtcae with equal weights; experts also predict their own modality",
        "Suzuki & Matsuo 2023",
        recipe=crmvae.recipe,
        is_bound=False,
    ),
    Method(
        "jmvae",
        subsets.whole,
        "an encoder of all modalities, which one for each follows",
        "Suzuki et al. 2016, JMVAE-kl",
        model="joint_encoder",
        recipe=jmvae.recipe,
        options=jmvae.Options,
    ),
    Method(
        "mmjsd",
        subsets.mmvae,
        "mixture of single experts, near to their geometric mean",
        "Sutter et al. 2020",
        recipe=mmjsd.recipe,
        is_bound=False,
    ),
    Method(
        "mmjsd_official",
        subsets.mmvae,
        "mmjsd that also decodes noise, as the code of MoPoE-VAE does",
        "Sutter et al. 2021, their code",
        recipe=mmjsd.official,
        is_bound=False,
    ),
    Method(
        "mmvm",
        subsets.mmvae,
        "one VAE a modality; the mixture of all posteriors is the prior of each",
        "Sutter et al. 2024",
        recipe=mmvm.recipe,
        is_bound=False,
    ),
    Method(
        "mmvm_official",
        subsets.mmvae,
        "mmvm with divergences of pairs, as its code",
        "Sutter et al. 2024, their code",
        recipe=mmvm.official,
        options=mmvm.Options,
        is_bound=False,
    ),
)
_OWN_S = Method("custom", None, "your own S: --subsets FILE.json", "Daunhawer et al. 2022, Definition 2")
METHODS: Registry[Method] = Registry("method", {method.name: method for method in (*_OF_PAPER, *_OF_TERMS, _OWN_S)})


def register(method: Method) -> Method:
    """Adds a method to the table, under its name. Raises InputError for a taken name, and options without defaults."""
    check_defaults(method.options, f"method {method.name!r}")
    return METHODS.register(method.name, method)


def cost(method: Method, names: Sequence[str]) -> tuple[float, float]:
    """(encoded, decoded) modalities a row and step, on average, by default; without terms of a stage's own."""
    names = names[:1] if method.is_single else names
    mixture = (method.mixture or subsets.mopoe)(names)
    encoded = float(len(names))
    if (recipe := method.terms_for({})) is not None:
        further = {name for law in recipe(tuple(names)).laws for name in law.given} - set(names)
        encoded *= 1 + len(further)  # each reads all modalities
    elif method.objective == "elbo" and method.allocation == "systematic" and mixture.is_bound:
        encoded = float((mixture.weights * mixture.matrix.sum(-1)).sum())
    return encoded, decoded(method, names)


def decoded(
    method: Method,
    names: Sequence[str],
    *,
    objective: str | None = None,
    samples: int | None = None,
    allocation: str | None = None,
) -> float:
    """Decoded modalities a row and step, without terms of a stage's own.

    objective, samples (K), allocation: of a run, None for the method's own. Raises InputError for an unknown objective.
    """
    names = names[:1] if method.is_single else names
    mixture = (method.mixture or subsets.mopoe)(names)
    is_systematic = (allocation or method.allocation) == "systematic"
    if (recipe := method.terms_for({})) is not None:
        draws = recipe(tuple(names)).draws
        parts = (1 if is_systematic or isinstance(draw.of, Q) else len(draw.of.parts) for draw in draws)
        return float(sum(n * len(draw.targets or names) for n, draw in zip(parts, draws, strict=True)))
    draws = (samples or method.samples) if objective_named(objective or method.objective).draws else 1
    if is_systematic and mixture.is_bound:
        return float(draws * len(names))
    return float(draws * mixture.targets.sum())
