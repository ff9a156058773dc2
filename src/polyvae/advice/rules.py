"""Rules for and against methods, and settings, given the facts of a data set. Each entry names its source.

A method gets 2 points if it was among the best for this need in a measurement or publication, and 1 point if it was
good there, in a small run, or in theory. Negative points speak against a method.
Texts may quote facts: "{facts.lacking:.0%}". A new method needs entries here to be recommended.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from polyvae.advice.facts import Facts
from polyvae.methods import METHODS
from polyvae.runs.suited import METHOD, MOST_VIEWS

Need = Literal["imputation", "coherence", "joint-samples", "likelihoods", "speed"]
Test = Callable[[Facts, Need], bool]


@dataclass(frozen=True)
class Rule:
    """Where `holds`, each of `methods` gets `points`."""

    methods: tuple[str, ...]
    points: int
    reason: str
    source: str
    holds: Test

    def said(self, facts: Facts) -> str:
        return f"{self.reason.format(facts=facts)} [{self.source}]"


@dataclass(frozen=True)
class Setting:
    """Flags of `polyvae run` for `methods` (empty: all). If several hold, the last one counts."""

    flags: Mapping[str, str]
    reason: str
    source: str
    holds: Test
    methods: tuple[str, ...] = ()

    def said(self, flags: Sequence[str]) -> str:
        """The flags that no later setting has replaced, and why; empty if there are none."""
        shown = " ".join(f"{flag} {self.flags[flag]}" for flag in flags)
        return shown and f"{shown}: {self.reason} [{self.source}]"


@dataclass(frozen=True)
class Note:
    """What to know with any method."""

    holds: Test
    text: str

    def said(self, facts: Facts) -> str:
        return self.text.format(facts=facts)


def rules(source: str, holds: Test, *rows: tuple[str, int, str]) -> tuple[Rule, ...]:
    """rows: methods in one word, points, reason."""
    return tuple(Rule(tuple(methods.split()), points, reason, source, holds) for methods, points, reason in rows)


def needs(*which: Need) -> Test:
    return lambda facts, need: need in which


def both(*tests: Test) -> Test:
    return lambda facts, need: all(test(facts, need) for test in tests)


def of(test: Callable[[Facts], bool]) -> Test:
    """A test of the facts alone."""
    return lambda facts, need: test(facts)


def fills_tables(facts: Facts, need: Need) -> bool:
    return need == "imputation" and "table" in facts.kinds


def fills_only_tables(facts: Facts, need: Need) -> bool:
    """Whether `polyvae run` chooses `METHOD` for such data by itself."""
    return fills_tables(facts, need) and facts.kinds <= {"table", "classes"} and facts.count <= MOST_VIEWS


def fills_content(facts: Facts, need: Need) -> bool:
    """Whether pictures, texts or classes are filled in, which are judged by their content."""
    return need == "imputation" and "table" not in facts.kinds


def carries_over(facts: Facts, need: Need) -> bool:
    """Whether generated modalities must have the right content."""
    return need == "coherence" or fills_content(facts, need)


COMPLETE, GAPS = 0.05, 0.2  # share of missing (row, modality) pairs: hardly any; as many as was measured
always = of(lambda facts: True)
are_complete = of(lambda facts: facts.lacking <= COMPLETE)
have_gaps = of(lambda facts: facts.lacking >= GAPS)
are_two = of(lambda facts: facts.count == 2)
are_several = of(lambda facts: facts.count > 2)
are_alike = of(lambda facts: facts.are_alike)
have_images = of(lambda facts: "image" in facts.kinds)
have_texts = of(lambda facts: "text" in facts.kinds)
of_numbers = of(lambda facts: facts.kinds <= {"table", "classes"})
samples, likelihoods, speed = needs("joint-samples"), needs("likelihoods"), needs("speed")
of_the_joint_law = needs("joint-samples", "likelihoods")  # needs that Delta limits

JOINT = tuple(name for name, method in METHODS.items() if not method.is_single and name != "custom")
MEASURED, THEORY = "measured", "measured; docs/theory.md, line 3"
APPLIED = "docs/applied.md"
TABLES, PRIORS = "docs/results.md, Real tables", "docs/results.md, A prior fitted afterwards"
FIG2, FIG4, FIG7 = (f"docs/results.md, figure {number}" for number in (2, 4, 7))
PAGE, SMALL_RUN = "docs/methods.md", "docs/methods.md, What a small run shows"
SIDE_BY_SIDE = "docs/methods.md, Side by side on PolyMNIST"
STUDY = "published: MultiVae's study of missing data, see docs/methods.md, Sources"
COST = "polyvae methods"

NOTHING_SHARED = rules(  # replaces all other rules if this is certain
    MEASURED,
    always,
    ("unimodal", 2, "modalities share nothing that matters, so separate models lose nothing"),
    (" ".join(JOINT), -2, "modalities share nothing that one could tell about another"),
)
RULES = (
    *rules(
        THEORY,
        of(lambda facts: facts.is_redundant),
        ("mmvae mopoe", 1, "each modality nearly determines the others, so encoding some of them loses little"),
    ),
    *rules(
        THEORY,
        both(fills_only_tables, of(lambda facts: facts.is_redundant)),
        (METHOD, 1, "each table nearly determines the others, so encoding some of them loses little"),
    ),
    *(
        rule
        for method in ("mmvae", "mopoe")
        for is_so, points, ends in ((Facts.is_costly, -1, "lower"), (Facts.is_cheap, 1, "upper"))
        for rule in rules(
            THEORY,
            both(of_the_joint_law, of(partial(is_so, method=method))),
            (method, points, f"its S hides at {'least' if ends == 'lower' else 'most'} "
             f"{{facts.delta[{method}].{ends}.value:.2f}} nats, however it is trained"),
        )
    ),
    *rules(
        APPLIED,
        fills_only_tables,
        (METHOD, 2, "error at most 2 % above the best of ridge, kNN and IterativeImputer in 36 of 42 cases, on eleven "
         "data sets; the default of `polyvae run` for tables"),
    ),
    *rules(
        "docs/methods.md, Dense experts",
        fills_only_tables,
        (METHOD, 1, "starts as factor analysis, and does not count twice what several tables share"),
    ),
    *rules(
        TABLES,
        fills_tables,
        ("mopoe", 2, "error .53 to .57 sd with 0 to 50 % missing; its 80 % intervals hold .83 to .84"),
    ),
    *rules(
        TABLES,
        both(fills_tables, have_gaps),
        ("mvae", 1, "learns from rows with gaps: error .54 at 25 % missing, but 80 % intervals hold .72 to .75"),
    ),
    *rules(
        TABLES,
        both(fills_tables, are_complete),
        ("mvae", -2, "after training on complete rows, error .63 sd, and 80 % intervals hold .65 (mopoe: .53, .84)"),
    ),
    *rules(
        PAGE,
        fills_tables,
        ("jmvae", 1, "its rule for subsets is exact where its single encoders are"),
        ("mvtcae", -1, "its experts give a posterior only together, so its means overshoot if few inputs are given"),
    ),
    *rules(
        PAGE,
        both(fills_tables, are_alike),
        ("mvtcae_over_messages", 1, "modalities of one form: exact for every subset if they are alike (unpublished)"),
    ),
    *rules(
        "docs/theory.md",
        both(fills_tables, are_two),
        ("mmvae", 1, "each of two modalities is encoded to predict the other"),
    ),
    *rules(
        SMALL_RUN,
        both(fills_tables, are_several),
        ("mmvae mmjsd mmvm", -1, "a mixture: with {facts.count} modalities, more inputs make nothing better"),
    ),
    *rules(
        FIG4,
        carries_over,
        ("mopoe", 2, "leave-one-out coherence .85 at beta .03, highest of four"),
        ("mmvae", 1, "leave-one-out coherence .80 at beta .03"),
        ("mvae_plus", -1, "leave-one-out coherence .23 at its best beta"),
        ("mvae", -2, "leave-one-out coherence .11 to .17 at every beta (chance .1)"),
    ),
    *rules(
        STUDY,
        carries_over,
        ("mmvae", 1, "coherence .80 from one input, best of seven, and from four"),
        ("mvtcae", 1, "coherence .54 from one input, .83 from four; the best samples (distance 81, mmvae 191)"),
        ("jmvae", 1, "coherence .63 from one input, .83 from four; distance 116"),
        ("jnf_dcca", 2, "coherence .76 from one input, .95 from four: best of seven from two on; distance 104"),
        ("jnf", 1, "coherence .68 from one input, .92 from four; distance 102"),
    ),
    *rules(
        SIDE_BY_SIDE,
        both(carries_over, have_images),
        ("idmvae", 1, "coherence .80 from one input, best of all at one small budget"),
        ("mvtcae_contrast", 1, "coherence .59 from one input, .72 from two, with better samples than any mixture"),
        ("mmvae_plusplus", 1, "coherence .67 from one input, most coherent joint samples with a fitted prior"),
        ("dmvae mopoe_style", -2, "coherence at chance: private codes hold what should be shared"),
    ),
    *rules(
        "published: Palumbo et al. 2023, 2024, each at its own budget",
        both(carries_over, have_images),
        ("cmvae", 2, "coherence .90 on PolyMNIST"),
        ("mmvae_plus", 2, "coherence .87 on PolyMNIST, with private codes for what is not shared"),
    ),
    *rules(
        "published: Zhang et al. 2026, one seed",
        both(carries_over, have_images),
        ("idmvae", 1, "coherence .88 on Quadrant PolyMNIST, where a digit has four places"),
    ),
    *rules(
        "published: Palumbo et al. 2024, at its own budget",
        both(samples, have_images),
        ("cmvae", 2, "joint coherence .78 on PolyMNIST, from its own learned prior"),
    ),
    *rules(
        SMALL_RUN,
        carries_over,
        ("crmvae", 1, "coherence .99 from one input on `symbols`"),
        ("mmvm", 1, "coherence 1.00 from one input on `symbols`"),
        ("mmjsd", 1, "coherence .98 from one input on `symbols`"),
        ("mvtcae_over_messages", -1, "coherence .81 from one input on `symbols`, mvtcae .86"),
    ),
    *rules(
        STUDY,
        both(carries_over, have_gaps),
        ("mmvae", 1, "coherence from one input .79 at 20 % missing, .76 at 50 %"),
        ("mvtcae", -1, "coherence from one input .49 at 20 % missing, .38 at 50 % (.54 with complete rows)"),
        ("jmvae jnf jnf_dcca", -1, "published for complete rows only; not measured with gaps"),
    ),
    *rules(
        PRIORS,
        samples,
        ("mvae", 2, "with a fitted prior, lowest distance of three methods (252), joint coherence .41"),
        ("mopoe", 2, "with a fitted prior, distance 279 and joint coherence .46"),
        ("mmvae", 1, "with a fitted prior, joint coherence .61, but highest distance of three methods (383)"),
    ),
    *rules(
        STUDY,
        samples,
        ("mvtcae", 2, "with a fitted prior, joint coherence .57, best of seven"),
        ("jnf", 2, "with a fitted prior, joint coherence .53, second of seven"),
        ("jmvae", 1, "with a fitted prior, joint coherence .46, third of seven"),
        ("jnf_dcca", 1, "with a fitted prior, joint coherence .45, fourth of seven"),
    ),
    *rules(
        FIG2,
        samples,
        ("mvae_plus", 1, "distance as low as mvae's at beta .3; most varied samples (.82); one run of four failed"),
    ),
    *rules(
        SMALL_RUN,
        samples,
        ("crmvae", -1, "joint coherence .80 on `symbols` from N(0, I), mopoe .96"),
        ("mmvm", -1, "joint coherence .85 on `symbols` from N(0, I), mopoe .96"),
    ),
    *rules(
        STUDY,
        likelihoods,
        ("mvtcae", 2, "-log p(X) 5,940 nats, lowest of six; its objective is not a bound"),
        ("jmvae", 2, "-log p(X) 6,034 nats, second of six; its objective is a bound"),
        ("jnf", 1, "-log p(X) 6,090 nats, third of six; the objective of its first stage is a bound"),
        ("jnf_dcca", 1, "-log p(X) 6,128 nats, fourth of six; the objective of its second stage is a bound"),
        ("mmvae", -1, "-log p(X) 6,936 nats, highest of six"),
    ),
    *rules(
        FIG7,
        likelihoods,
        ("mvae", 2, "log p(X) -3,724 at beta .3 (mopoe -3,855, mmvae -4,021); its objective is a bound"),
        ("mvae_plus", 1, "log p(X) -3,725 at beta .3, like mvae; its objective is not a bound, and it fails at beta 1"),
        ("mopoe", 1, "log p(X) between mvae and mmvae; its objective is a bound"),
    ),
    *rules(
        PAGE,
        likelihoods,
        ("crmvae mmjsd mmvm", -1, "its objective is not a bound, and its likelihood was not measured"),
    ),
    *rules(
        COST,
        speed,
        ("mmvae", 2, "encodes one modality per row"),
        ("mopoe", 2, "encodes about half of the modalities per row, for any number of subsets"),
        ("mvae mvtcae mmjsd mmvm", 1, "encodes and decodes every modality once"),
        ("mvae_plus crmvae jmvae", -1, "encodes or decodes every modality twice"),
        ("mmvae_plus cmvae idmvae", -2, "decodes every modality from every other"),
    ),
)  # fmt: skip

SETTINGS = (
    Setting({"--latent-dim": "96"}, "used on PolyMNIST at CPU scale; the paper has 512", FIG2, have_images),
    Setting(
        {"--beta": ".3"},
        "best likelihood of all four methods on PolyMNIST; for samples, also try .03 and 1",
        FIG7,
        both(have_images, of_the_joint_law),
        ("mvae", "mvae_plus", "mmvae", "mopoe"),
    ),
    Setting(
        {"--beta": ".03"},
        "best coherence on PolyMNIST; use .3 for more varied samples",
        FIG4,
        both(have_images, carries_over),
        ("mmvae", "mopoe"),
    ),
    Setting(
        {"--latent-dim": "48", "--beta": ".3"},
        "used for drawn birds and captions, where the caption also had a --modality-weights of 5",
        "docs/captions.md",
        both(have_images, have_texts),
    ),
    Setting({"--beta": "2.5"}, "published for PolyMNIST", PAGE, have_images, ("mvtcae", "mvtcae_over_messages")),
    Setting(
        {"--latent-dim": "32", "--beta": "2.5"},
        "published for PolyMNIST, with as many private dimensions per modality",
        "published: Palumbo et al. 2023, 2024",
        have_images,
        ("mmvae_plus", "cmvae"),
    ),
    Setting(
        {"--latent-dim": "32", "--beta": "2.5", "--batch-size": "128", "--method-options": "private_dim=128"},
        "published for Quadrant PolyMNIST",
        PAGE,
        have_images,
        ("idmvae",),
    ),
    Setting(
        {"--method-options": "iterations=20,step_size=.05"},
        "a fifth of the published chain, which is slow on a CPU; leave this out on a GPU",
        PAGE,
        always,
        ("jnf", "jnf_dcca"),
    ),
    Setting({"--beta": ".1"}, "published; at beta 1, training stayed on a plateau", PAGE, always, ("crmvae",)),
    Setting(
        {"--batch-size": "256"},
        "its correlations are computed per batch; published 500",
        PAGE,
        always,
        ("jnf_dcca",),
    ),
)

NOTES = (
    Note(
        of(lambda facts: facts.bounds is None),
        "It is not known what the modalities share ({facts.unmeasured}). If joint models are no better than the "
        "baselines, trust the baselines.",
    ),
    Note(
        of(lambda facts: facts.bounds is not None and facts.sharing == "unknown"),
        "It is not certain that any model predicts a modality from the others. They may share nothing, or something "
        "that {facts.bounds.rows:,} rows cannot show. Compare with the unimodal models to find out.",
    ),
    Note(
        of(lambda facts: facts.count > 8),
        "mopoe with {facts.count} modalities: keep --allocation systematic, the default. exact decodes every row from "
        "2^{facts.count} - 1 subsets.",
    ),
    Note(
        of(lambda facts: facts.imbalance >= 10),
        "The largest modality has {facts.imbalance:,.0f} times as many values as the smallest and will dominate the "
        "loss. The published remedy is --modality-weights: the largest size divided by each size. Here, weights "
        "were tried only for captions [docs/captions.md].",
    ),
    Note(
        of_numbers,
        "What the commands leave out is chosen by the rows and features of your own data, and `polyvae run` prints it "
        f"[{APPLIED}].",
    ),
    Note(
        of(lambda facts: facts.gaps > 0),
        "Single values are missing (up to {facts.gaps:.1%} of a table). They are not scored, and you need not fill "
        "them in beforehand.",
    ),
    Note(
        samples,
        "Fit a prior: the joint coherence of three models was .17 to .23 with their own prior and .41 to .61 with a "
        f"fitted one [{PRIORS}].",
    ),
    Note(
        likelihoods,
        "The default of 12 importance samples is low: after short training, the effective number was 1.4 "
        "[docs/results.md].",
    ),
    Note(
        both(have_texts, carries_over),
        "Do not expect sentences that fit a picture: from image to caption, every model was at chance "
        "[docs/captions.md].",
    ),
    Note(
        both(have_images, carries_over),
        "If content may be anywhere in a picture, use aligned_flows with a Normal likelihood: it alone carried such "
        "content over here [docs/results.md, Translated PolyMNIST]. Published: idmvae, for four places.",
    ),
)
