"""Files of every format: the same rows, ids, masks and names, whatever they came in; and every refusal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from polyvae.config import RunConfig
from polyvae.datasets import load
from polyvae.datasets.own.new_rows import like, load_like
from polyvae.datasets.own.reading import read_parts
from polyvae.datasets.own.roles import Roles
from polyvae.errors import InputError
from polyvae.likelihoods import Bernoulli, Categorical, Normal
from polyvae.runs.plan import make_plan

ROWS = 60
RNG = np.random.default_rng(5)
RNA, PROTEIN = RNG.standard_normal((ROWS, 4)), RNG.standard_normal((ROWS, 2))
SEEN = np.arange(ROWS) % 3 > 0
CELLS = np.array([f"cell{row:02d}" for row in range(ROWS)])
TYPES = np.array(["B", "CD4 T", "CD8 effector memory T cell"])[np.arange(ROWS) % 3]
GENES, TAGS = ("g1", "HLA.A", "g3", "g4"), ("CD3", "CD19")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def whole_table() -> pl.DataFrame:
    rna = {f"rna.{gene}": column for gene, column in zip(GENES, RNA.T, strict=True)}
    protein = {f"protein.{tag}": column for tag, column in zip(TAGS, PROTEIN.T, strict=True)}
    frame = pl.DataFrame({"cell": CELLS, "label": TYPES} | rna | protein)
    return frame.with_columns(pl.when(pl.Series(SEEN)).then(pl.col("^protein.*$")))


def write(frame: pl.DataFrame, name: str) -> str:
    if name.endswith(".parquet"):
        frame.write_parquet(name)
    else:
        frame.write_csv(name, separator="\t" if name.endswith(".tsv") else ",")
    return name


def as_npz() -> str:
    arrays = {"rna": RNA, "protein": np.where(SEEN[:, None], PROTEIN, np.nan), "protein.mask": SEEN, "label": TYPES}
    np.savez("d.npz", **arrays, **{".ids": CELLS, "rna.features": np.array(GENES), "protein.features": np.array(TAGS)})
    return "d.npz"


def as_several() -> str:
    rna = pl.DataFrame({"cell": CELLS, "label": TYPES} | dict(zip(GENES, RNA.T, strict=True)))
    protein = pl.DataFrame({"cell": CELLS[SEEN]} | dict(zip(TAGS, PROTEIN[SEEN].T, strict=True)))
    return f"{write(rna, 'rna.csv')},{write(protein.reverse(), 'protein.parquet')}"


def as_toml() -> str:
    write(whole_table().rename({"label": "kind"}), "all.csv")
    Path("views.toml").write_text(
        'id = "cell"\nlabel = "kind"\nfile = "all.csv"\n[views.rna]\n'
        'columns = ["rna.g1", "rna.HLA.A", "rna.g3", "rna.g4"]\n[views.protein]\n'
    )
    return "views.toml"


FORMS = {
    "csv": lambda: write(whole_table(), "d.csv"),
    "tsv": lambda: write(whole_table(), "d.tsv"),
    "parquet": lambda: write(whole_table(), "d.parquet"),
    "several": as_several,
    "toml": as_toml,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_holds_the_same_data(form):
    of_npz, found = read_parts(as_npz()), read_parts(FORMS[form]())
    for name in ("rna", "protein"):
        assert found.values[name].dtype == np.float64
        seen = found.present[:, list(found.values).index(name)]
        np.testing.assert_array_equal(found.values[name][seen], of_npz.values[name][seen])
    assert list(found.values) == list(of_npz.values)
    assert found.features == of_npz.features
    np.testing.assert_array_equal(found.present, of_npz.present)
    np.testing.assert_array_equal(found.ids, CELLS)
    np.testing.assert_array_equal(found.named_labels, TYPES)
    assert load("arrays", data=FORMS[form]()).fingerprint == load("arrays", data=as_npz()).fingerprint


def test_ids_go_with_their_rows_through_splits_and_selections():
    for data in (FORMS["csv"](), {"rna": RNA}):
        parts = [load("arrays", data=data, split=split, seed=3) for split in ("train", "test")]
        names = np.concatenate([part.ids for part in parts])
        assert sorted(names.tolist()) == (CELLS.tolist() if isinstance(data, str) else list(range(ROWS)))
        for part in parts:
            some = part.rows([4, 0]).select(["rna"])
            for name, row in zip(some.ids, some.values["rna"], strict=True):
                place = CELLS.tolist().index(name) if isinstance(data, str) else int(name)
                np.testing.assert_allclose(row, RNA[place], rtol=1e-6)


def test_words_that_repeat_are_classes_and_come_back_as_the_same_codes():
    trained = load("arrays", data={"kind": TYPES, "x": RNA}).modalities
    kind = trained[0]
    assert (kind.likelihood, kind.feature_names) == (Categorical(), ("B", "CD4 T", "CD8 effector memory T cell"))
    rows = load_like({"kind": np.array(["CD4 T", "B"]), "x": RNA[:2]}, trained)
    assert rows.values["kind"].argmax(1).tolist() == [1, 0]
    with pytest.raises(InputError, match=r"'kind', row 1: 'NK' is not a class of the model \(B, CD4 T"):
        load_like({"kind": np.array(["B", "NK"]), "x": RNA[:2]}, trained)


def test_words_of_numbers_are_in_the_order_of_numbers():
    kinds = np.array(["2", "10", "1"])[np.arange(ROWS) % 3]
    assert load("arrays", data={"kind": kinds, "x": RNA}).modalities[0].feature_names == ("1", "2", "10")


def test_types_of_single_columns():
    frame = pl.DataFrame(
        {
            "id": np.arange(ROWS)[::-1],
            "age": np.arange(ROWS) + 20,
            "sick": np.arange(ROWS) % 2 == 0,
            "site": np.array(["north", "south"])[np.arange(ROWS) % 2],
            "note": [f"seen on day {row} at home" for row in range(ROWS)],
        }
    )
    data = load("arrays", data=write(frame, "d.csv"))
    age, sick, site, note = data.modalities
    assert (age.likelihood, age.shape) == (Normal(None), (1,))
    assert (sick.likelihood, sick.shape) == (Bernoulli(), (1,))
    assert site.feature_names == ("north", "south")
    assert note.vocabulary
    assert data.info["description"]["site"] == "classes (2: north, south), categorical, weight 1"
    assert data.ids.dtype.kind == "i"
    np.testing.assert_array_equal(data.values["age"][:, 0], ROWS - 1 - data.ids + 20)


def test_columns_go_by_name_whatever_their_order():
    trained = load("arrays", data=FORMS["csv"]()).modalities
    frame = whole_table().with_columns(pl.lit(1.0).alias("rna.further"))
    names = ["cell", "rna.g4", "rna.further", "rna.g1", "rna.g3", "rna.HLA.A"]
    parts = read_parts(write(frame.select(names), "new.csv"))
    rows = load_like(parts, trained)
    np.testing.assert_allclose(rows.values["rna"], RNA, rtol=1e-6)
    np.testing.assert_array_equal(like(parts, trained).values["rna"], RNA)
    assert "1 columns that the model does not know are left out" in rows.info["warnings"]["rna"]
    with pytest.raises(InputError, match=r"'rna' lacks 1 of the 4 columns .*'HLA.A'"):
        load_like(write(frame.drop("rna.HLA.A"), "new.csv"), trained)


def test_a_column_that_is_empty_in_new_rows_is_a_modality_that_they_lack():
    frame = pl.DataFrame({"x.a": RNA[:, 0], "x.b": RNA[:, 1], "kind": TYPES})
    trained = load("arrays", data=write(frame, "d.csv")).modalities
    new = load_like(write(frame.with_columns(pl.lit(None).alias("kind")), "new.csv"), trained)
    assert new.present.tolist() == [[True, False]] * ROWS


def test_rows_are_joined_outer_in_the_order_of_their_first_appearance():
    write(pl.DataFrame({"id": [3, 1, 2], "a": [3.0, 1, 2], "b": [0.5, 1, 2]}), "x.csv")
    write(pl.DataFrame({"id": [9, 1, 3], "c": [9, 1, 3]}), "y.csv")
    parts = read_parts("x.csv,y.csv")
    assert parts.ids.tolist() == [3, 1, 2, 9]
    assert parts.present.tolist() == [[True, True], [True, True], [True, False], [False, True]]
    assert parts.values["y"][[0, 1, 3], 0].tolist() == [3, 1, 9]


def test_a_folder_is_several_files(tmp_path):
    for name in as_several().split(","):
        (tmp_path / "folder").mkdir(exist_ok=True)
        Path(name).rename(tmp_path / "folder" / name)
    (tmp_path / "folder" / "notes.md").write_text("not data")
    joined = read_parts(tmp_path / "folder")
    assert sorted(joined.values) == ["protein", "rna"]
    (tmp_path / "arrays").mkdir()
    for name, array in {"rna": RNA, "rna.mask": SEEN | True, "label": np.arange(ROWS) % 2}.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
    assert read_parts(tmp_path / "arrays").values["rna"].tolist() == RNA.tolist()


def test_settings_of_a_view_are_those_of_modalities_json():
    text = Path(as_toml()).read_text() + 'likelihood = "laplace"\nscale = 0.5\nweight = 2\nnetwork = "mlp"\n'
    Path("views.toml").write_text(text)
    data = load("arrays", data="views.toml")
    assert data.info["description"]["protein"] == "table (2,), laplace(0.5), standardised, weight 2"
    assert data.info["networks"] == {"protein": "mlp"}


# Names of rows


def two_files(first: list, second: list, name: str = "patient_id") -> str:
    return ",".join(
        write(pl.DataFrame({column: ids, "a": [1.0, 2.0, 3.5], "b": [0.5, 1.0, 2.0]}, strict=False), file)
        for column, ids, file in ((name, first, "x.csv"), ("id", second, "y.csv"))
    )


@pytest.mark.parametrize(
    ("first", "second", "ids"),
    [
        (["Mary Ann", "Tom Lee", "Jo Q"], ["Jo Q ", " Mary Ann", "Al B"], ["Mary Ann", "Tom Lee", "Jo Q", "Al B"]),
        (["P1", "P2", "P3"], ["P3 ", "P1 ", "P4 "], ["P1", "P2", "P3", "P4"]),
        ([1, 2, 3], [3.0, 1.0, 4.0], [1, 2, 3, 4]),
        ([1, 2, 3], ["3", "1", "x"], ["1", "2", "3", "x"]),
    ],
)
def test_ids_of_two_files_match_however_they_are_written(first, second, ids):
    parts = read_parts(two_files(first, second))
    assert parts.ids.tolist() == ids
    assert parts.present.tolist() == [[True, True], [True, False], [True, True], [False, True]]
    assert parts.values["y"][[2, 0, 3], 0].tolist() == [1, 2, 3.5]


@pytest.mark.parametrize(
    ("name", "ids", "why"),
    [
        ("who", ["Mary Ann", "Tom Lee", "Jo Q"], "holds words with spaces"),
        ("who", ["Ann", "Tom", "Ann "], "holds 'Ann' in line 2 and line 4"),
        ("who", ["Ann", "Tom", None], "has empty cells"),
        ("covid", [1, 2, 3], "holds no words"),
    ],
)
def test_why_a_first_column_is_no_id_is_said(name, ids, why):
    with pytest.raises(InputError, match=rf"x.csv has no column of ids to join it by: '{name}' {why}; rename .* to id"):
        read_parts(two_files(ids, [1, 2, 3], name))


def test_an_id_that_repeats_may_be_the_group_instead():
    visits = write(pl.DataFrame({"patient_id": [7, 7, 8], "x.a": RNA[:3, 0], "x.b": RNA[:3, 1]}), "d.csv")
    with pytest.raises(InputError, match=r"'patient_id': 7 is in line 2 and line 3; .* --group patient_id"):
        read_parts(visits)
    parts = read_parts(visits, Roles(group="patient_id"))
    assert (parts.ids.tolist(), parts.about["patient_id"].tolist()) == ([0, 1, 2], [7, 7, 8])
    of_a_model = Roles(views={"patient_id": (), "x": ("a", "b")})
    assert [*read_parts(visits, of_a_model).values] == ["patient_id", "x"], "it was a view when the model was trained"


def test_whole_numbers_with_a_point_are_groups_labels_and_classes():
    kind = np.arange(ROWS) % 3
    frame = pl.DataFrame({"id": CELLS, "kind": kind * 1.0, "donor": kind * 1.0, "c": kind * 1.0, "a": RNA[:, 0]})
    write(frame, "d.csv")
    Path("v.toml").write_text('file = "d.csv"\n[views.c]\nclasses = "c"\n[views.a]\ncolumns = ["a"]\n')
    parts = read_parts("v.toml", Roles(label="kind", group="donor"))
    for found in (parts.named_labels, parts.about["donor"], parts.values["c"]):
        assert (found.dtype.kind, found.tolist()) == ("i", kind.tolist())


# Columns that are no modality

SITES = np.array(["north", "south"])[np.arange(ROWS) // 2 % 2]
DONORS = np.array([f"donor {row // 5}" for row in range(ROWS)])
ROLES = Roles("kind", "site", "donor", ("note",))


def told() -> pl.DataFrame:
    return pl.DataFrame({"id": CELLS, "kind": TYPES, "site": SITES, "donor": DONORS, "note": ["a word"] * ROWS})


def several_with(about: pl.DataFrame) -> str:
    rna = pl.DataFrame({"id": CELLS} | dict(zip(GENES, RNA.T, strict=True)))
    protein = pl.DataFrame({"id": CELLS[SEEN]} | dict(zip(TAGS, PROTEIN[SEEN].T, strict=True)))
    return ",".join(
        write(frame, name) for frame, name in ((rna, "rna.csv"), (protein, "protein.csv"), (about, "m.csv"))
    )


def one_with(about: pl.DataFrame) -> str:
    return write(whole_table().drop("label").rename({"cell": "id"}).join(about, on="id"), "d.parquet")


def npz_with(about: pl.DataFrame) -> str:
    arrays = {"rna": RNA, "protein": np.where(SEEN[:, None], PROTEIN, np.nan), ".ids": CELLS}
    np.savez("d.npz", **arrays, **{name: np.array(about[name].to_list()) for name in about.columns if name != "id"})
    return "d.npz"


@pytest.mark.parametrize("form", [several_with, one_with, npz_with])
def test_columns_that_are_no_modality_are_found_by_name_in_every_form(form):
    parts = read_parts(form(told()), ROLES)
    assert list(parts.values) == ["rna", "protein"]
    assert parts.ids.tolist() == CELLS.tolist()
    assert parts.named_labels.tolist() == TYPES.tolist()
    assert {name: column.tolist() for name, column in parts.about.items()} == {
        "site": SITES.tolist(),
        "donor": DONORS.tolist(),
    }
    for wrong in (replace(ROLES, label="kin"), replace(ROLES, group="kin"), replace(ROLES, left_out=("kin",))):
        with pytest.raises(InputError, match=r"'kin' is not in the data; they hold kind"):
            read_parts(form(told()), wrong)
    lacking = form(told().drop("kind", "donor", "note"))
    new = read_parts(lacking, ROLES.for_new_rows())
    assert (new.labels, list(new.about)) == (None, ["site"])
    with pytest.raises(InputError, match="covariate 'site' is not in the data"):
        read_parts(form(told().drop("site")), ROLES.for_new_rows())


def test_rows_are_those_of_the_views_and_the_rest_is_joined_by_id():
    more = pl.concat([pl.DataFrame({"id": ["nobody"], "kind": "B"}), told().select("id", "kind").reverse()])
    parts = read_parts(several_with(more), Roles(label="kind"))
    assert sorted(parts.ids.tolist()) == CELLS.tolist()
    kinds = dict(zip(CELLS.tolist(), TYPES.tolist(), strict=True))
    assert parts.named_labels.tolist() == [kinds[name] for name in parts.ids.tolist()]


def test_what_one_file_does_not_say_of_a_row_another_may():
    rna = pl.DataFrame({"id": CELLS[:40], "g": RNA[:40, 0], "label": TYPES[:40]})
    protein = pl.DataFrame({"id": CELLS[20:], "t": PROTEIN[20:, 0], "label": TYPES[20:]})
    both = f"{write(rna, 'rna.csv')},{write(protein, 'protein.csv')}"
    assert read_parts(both).named_labels.tolist() == TYPES.tolist()
    write(protein.with_columns(label=pl.lit("B")), "protein.csv")
    with pytest.raises(InputError, match=r"column 'label', id 'cell20': rna.csv says 'CD8 .*', and protein.csv 'B'"):
        read_parts(both)
    write(protein.drop("label"), "protein.csv")
    with pytest.raises(InputError, match=r"'label' is missing in row 40 \(id 'cell40'\); .* --leave-out label"):
        read_parts(both)
    assert read_parts(both, Roles(left_out=("label",))).labels is None
    write(rna.rename({"label": "site"}), "rna.csv")
    with pytest.raises(
        InputError, match=r"covariate 'site' is missing in row 40 \(id 'cell40'\) and \d+ more; .*--data"
    ):
        read_parts(both, Roles(covariate="site"))


@pytest.mark.parametrize("form", ["several", "toml", "toml, as a view"])
def test_of_a_file_about_rows_other_ids_are_left_out_with_a_word(form):
    several_with(pl.concat([pl.DataFrame({"id": ["nobody"], "site": "west"}), told().select("id", "site").reverse()]))
    views = '[views.rna]\nfile = "rna.csv"\n[views.protein]\nfile = "protein.csv"\n'
    top, view = ('file = "m.csv"\n', "") if form == "toml" else ("", '[views.site]\nfile = "m.csv"\nclasses = "site"\n')
    Path("v.toml").write_text(top + views + view)
    data = "rna.csv,protein.csv,m.csv" if form == "several" else "v.toml"
    train = load("arrays", data=data, covariate="site")
    assert train.names == ("rna", "protein")
    assert train.info["warnings"]["m.csv"] == "1 of its 61 ids are in no view; left out."
    sites = dict(zip(CELLS.tolist(), SITES.tolist(), strict=True))
    levels = [train.covariate.levels[index] for index in train.levels.index]
    assert levels == [sites[name] for name in train.ids.tolist()]


def test_the_lines_that_make_a_view_of_words_do_so():
    data = several_with(told())
    with pytest.raises(InputError) as refusal:
        read_parts(data, Roles(left_out=("kind",)))
    lines = str(refusal.value).partition("\n")[2]
    Path("v.toml").write_text(f'[views.rna]\nfile = "rna.csv"\n{lines}\n')
    assert read_parts("v.toml").values["site"].tolist() == SITES.tolist()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            Roles(label="kind"),
            r"no numbers in site of m.csv \(north\), donor of m.csv \(donor 0\), note of m.csv \(a word\). Leave "
            "them out with --leave-out site,donor,note, or use one as --label, --covariate",
        ),
        (
            replace(ROLES, group="rna", left_out=("note", "donor")),
            r"group 'rna' is float64 \(40, 4\); it must be one word or integer per row",
        ),
        (replace(ROLES, covariate="g1", left_out=("note", "site")), r"rna.csv, column 'g1' holds fractions"),
        (Roles(left_out=("rna", "protein", "m")), "the data hold no modality"),
    ],
)
def test_roles_that_do_not_fit_are_refused(roles, message):
    with pytest.raises(InputError, match=message):
        read_parts(several_with(told()), roles)


def test_a_column_is_used_or_left_out_and_the_label_is_one():
    with pytest.raises(InputError, match="--group donor is also named by --leave-out"):
        Roles(group="donor", left_out=("donor",))
    for form in (one_with, npz_with):
        data = form(told().with_columns(label=pl.lit("x")))
        with pytest.raises(InputError, match=r"--label kind: there is also a column 'label'; .* --leave-out label"):
            read_parts(data, ROLES)
        assert read_parts(data, replace(ROLES, left_out=("label", "note"))).named_labels.tolist() == TYPES.tolist()


def test_a_view_may_be_left_out_whole():
    assert list(read_parts(FORMS["csv"](), Roles(left_out=("protein",))).values) == ["rna"]
    assert read_parts(FORMS["csv"](), Roles(left_out=("rna.g1",))).features["rna"] == GENES[1:]
    assert list(read_parts(as_npz(), Roles(left_out=("protein",))).values) == ["rna"]


def test_a_forgotten_column_of_a_file_about_rows_is_named():
    data = several_with(told().with_columns(age=pl.int_range(ROWS) % 60))
    roles = {"label": "kind", "covariate": "site", "group": "donor"}
    said = load("arrays", data=data, **roles, leave_out="note").info["warnings"]["m"]
    assert said == "m.csv is a view of age alone; if it only describes the rows, use --leave-out age."
    assert "m" not in load("arrays", data=data, **roles, leave_out="note,age").info["warnings"]
    few = read_parts(f"{write(pl.DataFrame({'id': CELLS, 'a': RNA[:, 0]}), 'few.csv')},{as_several()}")
    assert not few.doubts, "a small view by itself is one"


# New rows of a trained model


def test_a_file_of_new_rows_is_the_view_that_its_name_or_its_columns_say():
    trained = load("arrays", data=as_several()).modalities
    rna = pl.read_csv("rna.csv")
    for name in ("rna.csv", "new.csv", "new.parquet"):
        found = load_like(write(rna.reverse(), name), trained)
        assert found.present.sum(0).tolist() == [ROWS, 0]
        np.testing.assert_allclose(found.values["rna"].flip(0), RNA, rtol=1e-5)
    assert load_like(f"{write(rna, 'new.csv')},protein.parquet", trained).present.all(1).any()
    assert load_like(write(whole_table(), "all.csv"), trained).present.all(1).any()
    with pytest.raises(InputError, match="'rna' lacks 1 of the 4 columns"):
        load_like(write(rna.drop("g1"), "rna.csv"), trained)
    with pytest.raises(
        InputError, match=r"new.csv holds no view of the model, which has rna, protein; call .* rna.csv"
    ):
        load_like(write(rna.drop("g1"), "new.csv"), trained)


def as_a_table(rna: pl.DataFrame, more: pl.DataFrame) -> str:
    named = rna.rename({name: f"rna.{name}" for name in GENES})
    return write(pl.concat([named, more], how="horizontal"), "new.parquet")


def as_a_file_of_the_view(rna: pl.DataFrame, more: pl.DataFrame) -> str:
    return write(pl.concat([rna, more], how="horizontal"), "rna.parquet")


def as_a_view_by_name(rna: pl.DataFrame, more: pl.DataFrame) -> str:
    as_a_file_of_the_view(rna, more)
    Path("v.toml").write_text('[views.rna]\nfile = "rna.parquet"\n[views.rpm]\nfile = "rna.parquet"\ncolumns = ["rpm"]')
    return "v.toml"


@pytest.mark.parametrize("form", [as_a_table, as_a_file_of_the_view, as_a_view_by_name])
def test_columns_of_new_rows_that_the_model_does_not_know_are_ignored(form):
    trained = load("arrays", data=as_several()).modalities
    when = pl.Series([f"2025-01-{1 + row % 9:02d}" for row in range(ROWS)]).str.to_date()
    more = pl.DataFrame({"rpm": RNA[:, 0], "when": when, "note": ["a word"] * ROWS})
    parts = read_parts(form(pl.read_csv("rna.csv"), more), Roles().for_new_rows(trained))
    found = load_like(parts, trained)
    np.testing.assert_allclose(found.values["rna"], RNA, rtol=1e-6)
    assert found.present.sum(0).tolist() == [ROWS, 0]
    if form is not as_a_view_by_name:
        assert [*parts.doubts.values()] == ["the model does not know rpm, when, note; ignored."]


def test_words_in_a_column_that_the_model_knows_as_numbers_are_refused():
    trained = load("arrays", data=as_several()).modalities
    rna = pl.read_csv("rna.csv").with_columns(pl.lit("n.d.").alias("g1"), pl.lit("x").alias("further"))
    with pytest.raises(InputError, match=r"no numbers in g1 of rna.csv \(n.d.\); correct those"):
        load_like(write(rna, "rna.csv"), trained)


def test_new_rows_of_unknown_levels_are_counted_and_named():
    data = several_with(told().select("id", "site"))
    train = load("arrays", data=data, covariate="site")
    site = pl.when(pl.col("id").is_in(CELLS[[4, 7]].tolist())).then(pl.lit("west")).otherwise("site").alias("site")
    with pytest.raises(
        InputError,
        match=r"2 of 60 rows have a site that .* not trained on, first row 4 \(id 'cell04'\) with 'west'; it knows "
        "north, south. Leave these rows out of the file, or train again with them",
    ):
        load_like(several_with(told().select("id", site)), train.modalities, train.covariate)


# Test rows in files by themselves


def told_rows(about: pl.DataFrame) -> pl.DataFrame:
    return whole_table().drop("label").rename({"cell": "id"}).join(about, on="id")


def test_own_test_rows_come_in_the_units_of_the_training_rows():
    frame = told_rows(told())
    new, old = write(frame[:20], "new.csv"), write(frame[20:].select(reversed(frame.columns)), "old.parquet")
    options = {"label": "kind", "covariate": "site", "group": "donor", "leave_out": "note"}
    train, test = (load("arrays", data=old, test_data=new, split=split, **options) for split in ("train", "test"))
    assert (train.ids.tolist(), test.ids.tolist()) == (CELLS[20:].tolist(), CELLS[:20].tolist())
    assert (test.modalities, test.covariate) == (train.modalities, train.covariate)
    scaled = test.batch(slice(None)).values["rna"]
    expected = (RNA[:20] - RNA[20:].mean(0)) / RNA[20:].std(0)
    np.testing.assert_allclose(scaled, expected[:, ::-1], rtol=1e-4, atol=1e-5)
    names = test.info["label_names"]
    assert [names[label] for label in test.labels] == TYPES[:20].tolist()
    plan = make_plan(RunConfig(data=old, test_data=new, metrics="none", **options))
    assert plan.test.ids.tolist() == CELLS[:20].tolist()
    assert {*plan.train.ids, *plan.validation.ids} == {*CELLS[20:]}
    other = make_plan(RunConfig(data=old, test_data=write(frame[:10], "fewer.csv"), metrics="none", **options))
    assert other.run_id != plan.run_id
    with pytest.raises(InputError, match="--test-size cuts test rows off the data, and --test-data are test rows"):
        make_plan(RunConfig(data=old, test_data=new, test_size=5, **options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda new: new.drop("rna.g3"), "test data lack 'rna.g3', which the training rows have; give both"),
        (lambda new: new.drop("protein.CD3", "protein.CD19"), r"lack 'protein', .* \(3 columns differ\)"),
        (lambda new: new.with_columns(age=pl.lit(3)), "test data also have 'age'"),
        (lambda new: new.with_columns(donor=pl.lit("donor 9")), "donor 'donor 9' has rows in both the data and"),
    ],
)
def test_test_rows_of_other_columns_or_shared_groups_are_refused(change, message):
    frame = told_rows(told())
    new, old = write(change(frame[:20]), "new.csv"), write(frame[20:], "old.csv")
    with pytest.raises(InputError, match=message):
        load("arrays", data=old, test_data=new, split="test", label="kind", group="donor", leave_out="note,site")


@pytest.mark.parametrize(
    ("column", "old", "new", "message"),
    [
        ("label", [0, 1, 2], ["2", "10", "1"], "labels are integers in the data and words in the test data"),
        ("label", ["a", "b", "c"], [7, 8, 9], "labels are words in the data and integers in the test data"),
        ("donor", [1, 2, 3], ["3", "x", "y"], "donor '3' has rows in both the data and the test data"),
    ],
)
def test_words_and_integers_in_two_files_are_not_mixed_up(column, old, new, message):
    data, test = ({"a": RNA[:12], "b": RNA[:12, :2], column: np.repeat(values, 4)} for values in (old, new))
    options = {"group": "donor"} if column == "donor" else {}
    with pytest.raises(InputError, match=message):
        load("arrays", data=data, test_data=test, split="test", **options)


# Pictures


def picture(mode: str, size=(24, 16)) -> Image.Image:
    ramp = np.linspace(0, 255, size[0]).astype(np.uint8)[None].repeat(size[1], 0)
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    image = Image.fromarray(ramp)
    if mode in ("RGBA", "LA"):
        image.putalpha(255)
    return image.convert(mode)


def pictured(images: dict[str, Image.Image | None], view="") -> str:
    Path("pics").mkdir(exist_ok=True)
    for name, image in images.items():
        if image is not None:
            image.save(Path("pics") / name)
    shown = [name if image is not None else None for name, image in images.items()]
    colours = [["red", "blue"][row % 2] for row in range(len(images))]
    pl.DataFrame({"id": list(range(len(images))), "file": shown, "colour": colours}).write_csv("captions.csv")
    Path("v.toml").write_text(
        f'file = "captions.csv"\nlabel = "colour"\n[views.photo]\nimages = "file"\nfolder = "pics"\n{view}\n'
        '[views.colour]\nclasses = "colour"\n'
    )
    return "v.toml"


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16", "P", "RGB", "RGBA"])
def test_pictures_of_every_kind_show_the_same(mode):
    images = {"a.png": picture(mode), "b.png": picture(mode), "c.png": None}
    parts = read_parts(pictured(images))
    values = parts.values["photo"]
    assert (values.dtype, values.shape) == (np.uint8, (3, 1 if mode in ("L", "1", "LA", "I;16") else 3, 16, 24))
    assert parts.present.tolist() == [[True, True], [True, True], [False, True]]
    expected = np.asarray(picture("1" if mode == "1" else "L").convert("L")).astype(int)
    assert np.abs(values[:2] - expected).max() <= (4 if mode == "P" else 1)  # a palette has few colours
    assert parts.named_labels.tolist() == ["red", "blue", "red"]


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (read_parts(pictured({"a.png": clear, "b.png": clear})).values["photo"] == 255).all()


def test_pictures_of_other_sizes_are_cut_to_the_one_that_is_said_or_refused():
    images = {"a.png": picture("L"), "b.png": picture("L", (30, 30))}
    with pytest.raises(InputError, match=r"column 'file', line 3: 'b.png' has 30 x 30 .*24 x 16; set .* size = 64"):
        read_parts(pictured(images))
    assert read_parts(pictured(images, "size = 8")).values["photo"].shape == (2, 1, 8, 8)
    assert read_parts(pictured(images, "size = [8, 12]")).values["photo"].shape == (2, 1, 8, 12)


def test_the_middle_of_a_picture_is_kept():
    image = Image.new("L", (30, 10), 0)
    image.paste(200, (10, 0, 20, 10))
    assert (read_parts(pictured({"a.png": image, "b.png": image}, "size = 10")).values["photo"] == 200).all()


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("comma", [".", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_semicolons_and_tabs_are_read_with_decimal_points_or_commas(separator, comma, end):
    lines = ["id;x.a;x.b", "r1;1.5;2", "r2;-3;.25", "r3;;1e-3"]
    text = end.join(line if i == 0 else line.replace(".", comma) for i, line in enumerate(lines))
    Path("d.csv").write_text(text.replace(";", separator))
    parts = read_parts("d.csv")
    np.testing.assert_array_equal(parts.values["x"], [[1.5, 2], [-3, 0.25], [np.nan, 1e-3]])
    assert parts.ids.tolist() == ["r1", "r2", "r3"]


def test_the_separator_is_the_mark_that_the_header_holds_most_often_outside_of_quotes():
    assert read_parts(csv("id;x.size, cm;x.b\n1;3,5;2\n2;4,5;3\n")).values["x"].tolist() == [[3.5, 2], [4.5, 3]]
    assert read_parts(csv('id,"x.a; b; c; d",x.b\n1,3.5,2\n2,4.5,3\n')).values["x"].tolist() == [[3.5, 2], [4.5, 3]]


def test_decimal_commas_are_found_below_a_long_header():
    names = [f"gene.{i:05}" for i in range(8000)]
    text = ";".join(["id", *names]) + "\n" + "\n".join(";".join([f"c{row}"] + ["1,5"] * 8000) for row in range(2))
    assert (read_parts(csv(text)).values["gene"] == 1.5).all()


def test_a_column_named_id_that_is_a_group_leaves_the_first_column_its_ids():
    Path("d.csv").write_text("cell,id,x.a\nc1,p,1\nc2,p,2\nc3,q,3\n")
    parts = read_parts("d.csv", Roles(group="id"))
    assert (parts.ids.tolist(), list(parts.values), parts.about["id"].tolist()) == (
        ["c1", "c2", "c3"],
        ["x"],
        ["p", "p", "q"],
    )


def test_spaces_around_a_group_make_no_other_group():
    Path("d.csv").write_text("id,site,x.a\n1,Oslo ,1\n2,Oslo,2\n3,Rome,3\n")
    assert read_parts("d.csv", Roles(group="site")).about["site"].tolist() == ["Oslo", "Oslo", "Rome"]


# Refusals


def csv(text: str) -> str:
    Path("d.csv").write_text(text)
    return "d.csv"


def encoded(text: str, encoding: str) -> str:
    Path("d.csv").write_text(text, encoding=encoding)
    return "d.csv"


def toml(text: str) -> str:
    csv("id,a,b,word\n1,1,2,x\n2,3,4,y\n")
    Path("v.toml").write_text(text)
    return "v.toml"


REFUSALS = [
    (lambda: csv("x.a,x.b\n1,u\n3,v\n"), r"no numbers in x.b of d.csv \(u\). .*--leave-out x.b,"),
    (lambda: csv("x.a,x.b\n1,2\n3,inf\n"), r"'x.b', line 3: inf is infinite, .*; correct it, or leave it empty if it"),
    (lambda: csv("x.a,x.b\n1,2\n1e39,3\n"), r"'x.a', line 3: 1e\+39 is .* beyond float32; correct it"),
    (lambda: csv("site_id,a\n1,2\n1,3\n"), r"'site_id': 1 is in line 2 and line 3; .* --group site_id"),
    (lambda: encoded("id,a,site\n1,2,Genève\n", "latin-1"), r"d.csv is not a readable table .*; save it as UTF-8"),
    (lambda: encoded("id,a,site\n1,2,Genève\n", "utf-16"), r"d.csv is not a readable table .*; save it as UTF-8"),
    (lambda: csv("x.a,x.b\n1,2\n3,oops\n5,6\n"), r"'x.b', line 3: 'oops' is not a number; correct it, or leave it"),
    (lambda: csv("id,a\n1,2\n7,3\n7,4\n"), r"d.csv, column 'id': 7 is in line 3 and line 4; give each row"),
    (lambda: csv("id,a\n1,2\n,3\n"), r"d.csv, column 'id', line 3: no id"),
    (lambda: csv("a,b,a\n1,2,3\n"), r"d.csv has two columns 'a'"),
    (lambda: csv("a,b\n1,2\n1,2,3\n"), r"d.csv is not a readable table"),
    (lambda: csv("a,b\n"), r"d.csv holds no rows"),
    (lambda: csv("id\n1\n2\n"), r"no modality"),
    (lambda: csv(",".join(map("c{}".format, range(30))) + "\n" + ",".join("1" * 30)), r"30 columns without a view"),
    (lambda: "none.csv", r"no file none.csv"),
    (lambda: "book.xlsx", r".xlsx files are not read; save it as one of .npz, .csv"),
    (lambda: csv("a,b\n1,2\n") + ",none.csv", r"no file none.csv"),
    (lambda: "a.csv,b.h5ad", r"b.h5ad: several files must be .csv"),
    (lambda: toml('[views.x]\nfile = "d.csv"\ncolumn = ["a"]'), r"\[views.x\]: unknown key 'column'; keys are file"),
    (lambda: toml('[views.x]\ncolumns = ["a"]'), r"\[views.x\]: file is None; give its name"),
    (lambda: toml('[views.x]\nfile = "d.csv"\ncolumns = ["c"]'), r"no column 'c'; d.csv has id, a, b, word"),
    (lambda: toml('[views.x]\nfile = "d.csv"\ncolumns = ["a", "word"]'), r"no numbers in word of d.csv \(x\)"),
    (lambda: toml('[views.x]\nfile = "d.csv"\ntext = "word"\nclasses = "word"'), r"has 'text' and 'classes'; keep one"),
    (lambda: toml('label = "kind"\n[views.x]\nfile = "d.csv"\ncolumns = ["a"]'), r"label 'kind' is not in the data"),
    (lambda: toml('[views.x]\nfile = "d.csv"\nmod = "rna"'), r"mod 'rna' is not in d.csv"),
    (lambda: toml('[views.x]\nfile = "d.csv"\nimages = "word"'), r"column 'word', line 2: 'x': no such file"),
    (lambda: toml("[views.x"), r"v.toml is not valid TOML"),
    (lambda: toml('file = "d.csv"'), r"v.toml names no view"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_refusals_name_file_column_row_and_fix(make, message):
    with pytest.raises(InputError, match=message):
        read_parts(make())


def test_files_without_ids_are_joined_by_row_only_where_they_have_as_many():
    write(pl.DataFrame({"a": [1.0, 2], "b": [2.0, 3]}), "x.csv")
    write(pl.DataFrame({"c": [1.0, 2], "d": [2.0, 5]}), "y.csv")
    assert read_parts("x.csv,y.csv").present.all()
    write(pl.DataFrame({"c": [1.0, 2, 4], "d": [2.0, 5, 4]}), "y.csv")
    with pytest.raises(InputError, match=r"x.csv has no column of ids to join it by: 'a' holds no words"):
        read_parts("x.csv,y.csv")


def test_files_without_a_common_id_are_refused():
    write(pl.DataFrame({"id": ["a", "b"], "x": [1.0, 2]}), "x.csv")
    write(pl.DataFrame({"id": ["c", "d"], "y": [1.0, 2]}), "y.csv")
    with pytest.raises(InputError, match=r"no id is in two files: x.csv has 'a', y.csv has 'c'"):
        read_parts("x.csv,y.csv")


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        (".ids", np.zeros(ROWS, int), r"'.ids' holds 0 twice, first in row 0"),
        (".ids", np.zeros((ROWS, 1), int), r"'.ids' is int64 \(60, 1\)"),
        ("rna.features", np.array(["a", "a", "b", "c"]), "give 4 different words"),
        ("rna.features", np.array(["a", "b"]), "give 4 different words"),
        ("dna.features", np.array(["a", "b"]), "unknown key 'dna.features'"),
    ],
)
def test_names_that_do_not_fit_are_refused(key, array, message):
    with pytest.raises(InputError, match=message):
        read_parts({"rna": RNA, key: array})
