"""What a record says of imputed tables, in words."""

import pytest

from polyvae.runs.verdict import in_short, verdict


def scores(error, ridge, held=0.8, given="rna", target="protein"):
    return {
        f"imputation/{given}/{target}/rmse": error,
        f"imputation/{given}/{target}/coverage": held,
        f"imputation/mean/{target}/rmse": 1.0,
        f"imputation/ridge/{target}/rmse": ridge,
    }


def said(*arguments, seeds=5, **options):
    return text({"mopoe": scores(*arguments, **options)}, ("rna", "protein"), seeds)


def text(scores, names, seeds=5):
    return " ".join(verdict(scores, names, seeds))


def test_a_gain_a_tie_and_a_loss_are_told_apart():
    assert said(0.61, 0.66).startswith(
        "Filling in tables: mopoe gains 8 % on protein given rna (error 0.610, ridge 0.660, the column mean 1.000)."
    )
    assert said(0.655, 0.66).startswith(
        "Filling in tables: mopoe does not differ clearly from ridge on protein given rna "
        "(error 0.655, ridge 0.660, the column mean 1.000)."
    )
    assert said(0.8, 0.66).startswith(
        "Filling in tables: ridge is better than mopoe on protein given rna "
        "(error 0.660, mopoe 0.800, the column mean 1.000)."
    )
    assert "(error 0.800, the column mean 1.000)" in said(0.8, 1.2), "the best of the simpler methods counts"


def test_a_difference_that_chance_explains_is_none():
    noisy = {"imputation/ridge/protein/gain_se": 0.06}
    found = text({"mopoe": scores(0.61, 0.66) | noisy}, ("rna", "protein"), 5)
    assert "mopoe does not differ clearly from ridge on protein" in found
    sure = {"imputation/ridge/protein/gain_se": 0.02}
    found = text({"mopoe": scores(0.61, 0.66) | sure}, ("rna", "protein"), 5)
    assert "mopoe gains 8 % (95 %: 4 to 12) on protein" in found
    of_one_group = {"imputation/ridge/protein/gain": 0.08}  # which leaves no standard error
    found = text({"mopoe": scores(0.61, 0.66) | of_one_group}, ("rna", "protein"), 5)
    assert "mopoe does not differ clearly from ridge" in found


@pytest.mark.parametrize("doubt", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("error", [0.6, 0.95, 0.99, 1.2])
def test_headline_and_verdict_agree(error, doubt):
    metrics = scores(0.9 * error, 0.9) | {"imputation/ridge/protein/gain_se": doubt}
    told, headline = (say({"mopoe": metrics}, ("rna", "protein")) for say in (text, in_short))
    is_ahead = 1 - error > max(0.02, 2 * doubt)
    assert ("mopoe gains" in told) == is_ahead
    assert headline.startswith("mopoe fills in protein given rna" if is_ahead else "No model fills in")


def test_the_simpler_method_is_chosen_by_validation_rows():
    """Not by the test rows, on which the luckiest of four looks best."""
    by_rows = {"imputation/ridge/protein/validation": 0.7, "imputation/mean/protein/validation": 0.6}
    assert "(error 0.610, the column mean 1.000)" in text(
        {"mopoe": scores(0.61, 0.66) | by_rows}, ("rna", "protein"), 5
    )


def test_intervals_and_seeds_are_judged():
    assert "hold 0.81 of the truth on test rows, as they should." in said(0.6, 0.7, 0.81)
    assert "too narrow" in said(0.6, 0.7, 0.6)
    for spread, judged in ((0.01, "but some are too narrow"), (0.03, "as they should")):  # as chance has it
        unsure = scores(0.6, 0.7, 0.75) | {"imputation/rna/protein/coverage_se": spread}
        within = f"80 % intervals hold 0.75 of the truth on test rows (95 %: ± {2 * spread:.2f}), {judged}."
        assert within in verdict({"mopoe": unsure}, ("rna", "protein"), 5)
    assert "wider than necessary" in said(0.6, 0.7, 0.9)
    assert "single seed" not in said(0.6, 0.7)
    assert said(0.6, 0.7, seeds=1).endswith("With a single seed, small differences may be chance.")


def test_the_method_is_chosen_by_validation_rows():
    """Not by the test rows, on which the luckiest of many looks best; where they had to choose, that is said."""
    lucky, best = scores(0.5, 0.66), scores(0.6, 0.66)
    by_rows = [{"imputation/rna/protein/validation": held} for held in (0.65, 0.55)]
    found = {"mvae": lucky | by_rows[0], "mopoe": best | by_rows[1]}
    assert "tables: mopoe gains 9 % on" in text(found, ("rna", "protein"), 5)
    assert in_short(found, ("rna", "protein")).startswith("mopoe fills in protein given rna 9 % better than ridge; ")
    found = {"mvae": lucky | by_rows[0], "mopoe": best}
    assert "tables: mvae (best of 2 on these test rows) gains 24 % on" in text(found, ("rna", "protein"), 5)
    assert "24 % better than ridge (best of 2 on these test rows); " in in_short(found, ("rna", "protein"))


def test_the_best_method_stands_for_all_and_every_table_is_counted():
    names = ("rna", "protein", "atac")
    better = scores(0.5, 0.6, given="rna+atac") | scores(0.9, 0.6, given="rna+protein", target="atac")
    simpler = {key: value for key, value in better.items() if "/ridge/" in key or "/mean/" in key}
    worse = {key: value + 0.01 for key, value in better.items()} | simpler
    found = text({"mvae": worse, "mopoe": better}, names, 5)
    assert found.startswith(
        "Filling in tables: better than simpler methods on 1 of 2 tables. mopoe (best of 2 on these test rows) "
        "gains 17 % on protein (error 0.500"
    )
    assert "mvae" not in found


def test_without_tables_nothing_is_said():
    assert verdict({"mopoe": {"coherence/joint": 0.5}}, ("m0", "m1"), 5) == []
