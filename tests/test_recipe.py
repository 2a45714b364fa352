import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facebridge import methods
from facebridge import recipe as recipes
from facebridge.data.samplers.settings import Side
from facebridge.recipe import FaceListData, GeneratedData, Recipe, RecogniserSettings, SyntheticData, TrainingSettings
from tests import tiny


def resolve(**changes: Any) -> Recipe:
    return recipes.resolve(tiny.table() | changes, "my.toml")


def changed(section: str, **values: Any) -> Recipe:
    table = tiny.table() | {"recogniser": {"name": "mobile_facenet"}}
    return recipes.resolve(table | {section: table[section] | values}, "my.toml")


@pytest.mark.parametrize("name", recipes.names())
def test_every_shipped_recipe_comes_back_from_its_own_toml(name: str, tmp_path: Path) -> None:
    recipe = recipes.read(name)
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(recipe), "utf-8")
    assert recipes.read(path) == recipe
    assert recipes.to_toml(recipes.read(path)) == recipes.to_toml(recipe)


@pytest.mark.parametrize("name", recipes.names())
def test_every_shipped_recipe_names_its_source_and_command(name: str) -> None:
    text = (recipes.Recipes / f"{name}.toml").read_text("utf-8")
    assert text.startswith("# ")
    assert "#   facebridge " in text
    assert "Expected" in text or "Measured" in text


def test_every_method_has_a_recipe() -> None:
    assert {recipes.read(name).method for name in recipes.names()} == set(methods.names())


def test_the_resolved_recipe_writes_every_default_out() -> None:
    recipe = recipes.resolve({**tiny.table(), "settings": {"identity_weight": 0}}, "my.toml")
    assert set(recipe.settings) == set(methods.load("edsr_identity").Config.model_fields)
    assert set(tomllib.loads(recipes.to_toml(recipe))["training"]) >= {"mirror", "precision", "steps"}


def test_an_unknown_key_at_the_top_names_the_known_ones() -> None:
    known = ", ".join(Recipe.model_fields)
    with pytest.raises(ValueError, match=rf"^my\.toml: unknown key 'sede'; known here: {known}$"):
        resolve(sede=1)


@pytest.mark.parametrize(
    ("section", "known"),
    [
        ("settings", ", ".join(methods.load("edsr_identity").Config.model_fields)),
        ("data", ", ".join(FaceListData.model_fields)),
        ("training", ", ".join(TrainingSettings.model_fields)),
        ("recogniser", ", ".join(RecogniserSettings.model_fields)),
    ],
)
def test_an_unknown_key_in_a_section_names_file_section_and_known_keys(section: str, known: str) -> None:
    with pytest.raises(ValueError, match=rf"^my\.toml: unknown key '{section}\.oops'; known here: {known}$"):
        changed(section, oops=1)


def test_an_unknown_key_of_synthetic_data_names_its_own_keys() -> None:
    known = ", ".join(SyntheticData.model_fields)
    with pytest.raises(ValueError, match=rf"unknown key 'data\.list'; known here: {known}"):
        resolve(data={"kind": "synthetic", "list": "faces.csv"})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "steps", 0),
        ("training", "precision", "float8"),
        ("settings", "learning_rate", -1.0),
        ("settings", "num_blocks", "many"),
        ("data", "convention", "cubist"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_found(section: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^my\.toml: {section}\.{key}: .*\(found {value!r}\)"):
        changed(section, **{key: value})


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"my\.toml: seed: "):
        resolve(seed=seed)


def test_a_missing_list_is_named() -> None:
    with pytest.raises(ValueError, match=r"my\.toml: data\.list: field required$"):
        resolve(data={"kind": "face_list"})


@pytest.mark.parametrize("data", [{}, {"kind": "tape"}])
def test_data_of_no_known_kind_names_the_kinds(data: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="my.toml: data: ") as error:
        resolve(data=data)
    assert "kind" in str(error.value)


@pytest.mark.parametrize("method", ["edsr", None, ["edsr_identity"]])
def test_a_wrong_method_names_the_methods(method: Any) -> None:
    with pytest.raises(ValueError, match=r"my\.toml: there is no method .*; known: .*edsr_identity"):
        resolve(method=method)


def test_a_wrong_crop_names_the_crops() -> None:
    with pytest.raises(ValueError, match="sphereface"):
        resolve(crop="square")


def test_an_identity_loss_without_a_recogniser_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"my\.toml: an identity loss needs a recogniser: .*identity_weight=0"):
        resolve(settings={"identity_weight": 0.5})


def test_a_recipe_that_is_not_there_names_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match=r"no recipe 'edsr': .*edsr_identity_small"):
        recipes.read("edsr")


@pytest.mark.parametrize("content", [b"method = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"my\.toml is not a TOML file"):
        recipes.read(path)


def test_overrides_set_dotted_keys_to_toml_values_and_to_text() -> None:
    overrides = [
        "seed=7",
        "training.steps = 12",
        "training.mirror=false",
        "settings.reductions=[4, 16]",
        "settings.learning_rate=1e-3",
        "data.list=my faces/list 2.csv",
        'data.split="train"',
        "recogniser.sizes.height=128",
        "recogniser.weights=a=b.safetensors",
    ]
    recipe = recipes.read("edsr_identity_small", overrides)
    assert (recipe.seed, recipe.training.steps, recipe.training.mirror) == (7, 12, False)
    assert (recipe.settings["reductions"], recipe.settings["learning_rate"]) == ([4, 16], 1e-3)
    assert isinstance(recipe.data, FaceListData)
    assert recipe.data.list == Path("my faces/list 2.csv")
    assert recipe.data.split == "train"
    assert recipe.recogniser is not None
    assert recipe.recogniser.sizes == {"height": 128, "width": 96}
    assert recipe.recogniser.weights == Path("a=b.safetensors")


def test_the_last_of_two_overrides_counts() -> None:
    assert recipes.read("edsr_identity_small", ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", r"cannot read the override 'training\.steps': write key=value"),
        ("=5", "cannot read the override '=5'"),
        ("method.name=5", "'method' is a value, not a section"),
        ("training.step=5", r"unknown key 'training\.step'; known here: steps"),
        ("training.steps=soon", r"training\.steps: .*found 'soon'"),
    ],
)
def test_an_override_that_fits_nothing_is_explained(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipes.read("edsr_identity_small", [override])


def test_toml_leaves_out_what_is_absent_and_writes_paths_as_text() -> None:
    table = tomllib.loads(recipes.to_toml(resolve(data={"kind": "face_list", "list": "a folder/faces.csv"})))
    assert table["data"].items() >= {"kind": "face_list", "list": "a folder/faces.csv"}.items()
    assert not {"root", "split", "domain"} & table["data"].keys()
    assert "recogniser" not in table
    assert "None" not in recipes.to_toml(resolve().model_copy(update={"settings": {"ceiling": None, "floor": 0}}))


# TOML holds any text but lone surrogates
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(sizes=st.dictionaries(texts, values, max_size=3), split=texts, root=texts, learning_rate=st.floats(1e-300, 1e9))
def test_any_value_comes_back_from_toml(sizes: dict[str, Any], split: str, root: str, learning_rate: float) -> None:
    table = tiny.table({"learning_rate": learning_rate})
    table["recogniser"] = {"name": "onnx", "sizes": sizes}
    table["data"] |= {"split": split, "root": root}
    recipe = recipes.resolve(table, "my.toml")
    assert recipes.resolve(tomllib.loads(recipes.to_toml(recipe)), "my.toml") == recipe


def with_pairing(pairing: Any, **data: Any) -> Recipe:
    return resolve(data={"kind": "face_list", "list": "faces.csv", "pairing": pairing, **data})


NIR_TO_VIS = {"source": {"domain": "nir"}, "target": {"domain": "vis"}}


@pytest.mark.parametrize(
    "pairing",
    [
        {"kind": "none"},
        {"kind": "unpaired", **NIR_TO_VIS},
        {"kind": "same_person", **NIR_TO_VIS, "alike": ["session", "light"], "mirror_together": True},
        {"kind": "same_shot", **NIR_TO_VIS},
        {"kind": "profile_to_frontal", "source_at_least_deg": 45, "target": {"split": "train"}},
        {"kind": "several", "pictures": 6, "fewer": "repeat"},
    ],
)
def test_every_pairing_comes_back_from_toml(pairing: dict[str, Any], tmp_path: Path) -> None:
    generated = {"list": "generated.csv", "share": 0.5, "pairing": "same_shot"}
    recipe = with_pairing(pairing, generated=generated, aligned="arcface_112")
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(recipe), "utf-8")
    assert recipes.read(path) == recipe


def test_a_kind_of_pairs_alone_stands_for_its_defaults() -> None:
    assert with_pairing("same_person").data == with_pairing({"kind": "same_person"}).data


@pytest.mark.parametrize(
    ("pairing", "message"),
    [
        ("twins", r"data\.pairing: .*'twins'.*'none', 'unpaired', 'same_person', 'same_shot', 'profile_to_frontal'"),
        ({"kind": "several"}, r"data\.pairing\.pictures: field required"),
        ({"kind": "several", "pictures": 1}, r"data\.pairing\.pictures: .*2 \(found 1\)"),
        (
            {"kind": "same_shot", "mirror_together": True},
            r"'data\.pairing\.mirror_together'; known here: kind, source, t",
        ),
        ({"kind": "same_person", "source": {"domane": "nir"}}, r"'data\.pairing\.source\.domane'; known here: domain"),
        ({"kind": "unpaired"}, r"data\.pairing: source and target are the same rows: give source\.domain"),
        ({"kind": "profile_to_frontal", "source_at_least_deg": 0}, r"data\.pairing\.source_at_least_deg: "),
    ],
)
def test_a_pairing_that_is_wrong_is_named_with_what_was_expected(pairing: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_pairing(pairing)


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_a_share_of_generated_faces_lies_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match=r"data\.generated\.share: "):
        with_pairing("none", generated={"list": "generated.csv", "share": share})


def test_settings_of_generated_faces_are_named_when_one_is_unknown() -> None:
    known = ", ".join(GeneratedData.model_fields)
    with pytest.raises(ValueError, match=rf"unknown key 'data\.generated\.part'; known here: {known}"):
        with_pairing("none", generated={"list": "generated.csv", "share": 0.5, "part": 1})


def test_what_a_side_does_not_say_the_data_says() -> None:
    data = with_pairing({"kind": "same_person", "source": {"domain": "nir"}}, domain="vis", split="train").data
    assert recipes.sides(data, data.pairing) == (
        Side(domain="nir", split="train"),
        Side(domain="vis", split="train"),
    )


def test_drawn_people_have_cameras_but_no_splits() -> None:
    data = {"kind": "synthetic", "pairing": {"kind": "same_shot", **NIR_TO_VIS}}
    assert recipes.sides(resolve(data=data).data, resolve(data=data).data.pairing)[0] == Side(domain="nir")
    data["pairing"] = {"kind": "same_shot", "target": {"split": "train"}}
    with pytest.raises(ValueError, match="drawn people have no split 'train'"):
        resolve(data=data)


def test_a_crop_that_pictures_cannot_be_aligned_to_names_the_crops() -> None:
    assert with_pairing("none", aligned="arcface_112").data == with_pairing("none", aligned="arcface").data
    with pytest.raises(ValueError, match=r"data\.aligned: no crop is called 'square'.*sphereface"):
        with_pairing("none", aligned="square")


def test_shards_hold_single_faces() -> None:
    data = {"kind": "shards", "shards": "s3://bucket/faces"}
    assert recipes.resolve(tomllib.loads(recipes.to_toml(resolve(data=data))), "my.toml") == resolve(data=data)
    with pytest.raises(ValueError, match=r"data\.shards: field required"):
        resolve(data={"kind": "shards"})
    with pytest.raises(ValueError, match=r"unknown key 'data\.pairing'; known here: kind, shards, mix, outside"):
        resolve(data=data | {"pairing": "same_person"})


def test_a_pairing_can_be_set_from_the_command_line() -> None:
    overrides = ["data.domain=vis", "data.pairing.kind=unpaired", "data.pairing.source.domain=nir"]
    recipe = recipes.read("edsr_identity_small", overrides)
    assert recipe.data.pairing == with_pairing({"kind": "unpaired", "source": {"domain": "nir"}}).data.pairing


def test_every_recipe_of_the_page_on_pairs_is_understood() -> None:
    page = Path(recipes.__file__).parents[1] / "docs" / "data" / "training_pairs.md"
    shown = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    kinds = {resolve(**tomllib.loads(text)).data.pairing.kind for text in shown}
    assert kinds == {"none", "unpaired", "same_person", "same_shot", "profile_to_frontal", "several"}


def test_unpaired_sides_that_the_data_makes_the_same_are_refused() -> None:
    pairing = {"kind": "unpaired", "source": {"domain": "nir"}}
    assert with_pairing(pairing).data.domain is None
    with pytest.raises(ValueError, match="source and target are the same rows"):
        with_pairing(pairing, domain="nir")


@pytest.mark.parametrize("yaw_range", [[90, -90], [-200, 10], [-10, 91], [float("nan"), 10], [0, float("inf")]])
def test_yaws_that_cannot_be_drawn_are_refused(yaw_range: list[float]) -> None:
    with pytest.raises(ValueError, match=r"yaw_range.*(lower to a higher one within \[-90, 90\]|finite)"):
        resolve(data={"kind": "synthetic", "yaw_range": yaw_range})


@pytest.mark.parametrize("yaw_range", [[-90, 90], [45, 45]])
def test_yaws_go_as_far_as_profiles(yaw_range: list[float]) -> None:
    assert resolve(data={"kind": "synthetic", "yaw_range": yaw_range}).data.yaw_range == tuple(yaw_range)


DRAWN_PAIRS = {"kind": "synthetic", "pairing": {"kind": "same_person", **NIR_TO_VIS}}
HELD_OUT = {**DRAWN_PAIRS, "seed": 32, "first_identity": 5000, "identities": 32, "shots": 4}


def with_validation(**changes: Any) -> Recipe:
    section = {"every_steps": 200, "data": HELD_OUT, "recogniser": {"name": "embedded_judge"}} | changes
    return resolve(data=DRAWN_PAIRS, validation=section)


@pytest.mark.parametrize(
    "data",
    [
        HELD_OUT,
        HELD_OUT | {"yaw_range": [-30.0, 30.0]},
        {"kind": "face_list", "list": "a folder/held out.csv", "split": "test"},
        {
            "kind": "face_list",
            "list": "x.csv",
            "pairing": {"kind": "same_shot", **NIR_TO_VIS},
            "aligned": "arcface_112",
        },
        {"kind": "shards", "shards": "s3://bucket/faces"},
    ],
)
def test_a_validation_comes_back_from_toml(data: dict[str, Any], tmp_path: Path) -> None:
    judge = {"name": "mobile_facenet", "weights": "judge.safetensors", "sizes": {"height": 64, "width": 64}}
    recipe = with_validation(data=data, recogniser=judge, pairs=7)
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(recipe), "utf-8")
    assert recipes.read(path) == recipe
    assert recipes.to_toml(recipes.read(path)) == recipes.to_toml(recipe)


def test_a_validation_has_128_pairs_unless_it_says_otherwise_and_none_is_asked_for_by_itself() -> None:
    found = with_validation().validation
    assert found is not None
    assert found.pairs == 128
    assert resolve().validation is None
    assert "validation" not in recipes.to_toml(resolve())


def test_every_recipe_of_the_page_on_training_is_understood() -> None:
    page = Path(recipes.__file__).parents[1] / "docs" / "training.md"
    (shown,) = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert resolve(**tomllib.loads(shown)).validation is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every_steps": 0}, r"validation\.every_steps: .*\(found 0\)"),
        ({"pairs": 1}, r"validation\.pairs: .*2 \(found 1\)"),
        ({"often": 1}, "unknown key 'validation.often'; known here: every_steps, pairs, data, recogniser"),
        ({"data": {"kind": "synthetic", "people": 3}}, "unknown key 'validation.data.people'; known here: kind, seed"),
        ({"data": {"identities": 3}}, "validation.data: its kind is missing"),
        ({"recogniser": {}}, r"validation\.recogniser\.name: field required"),
        (
            {"data": HELD_OUT | {"pairing": {"kind": "unpaired", **NIR_TO_VIS}}},
            "'unpaired' do not allow: set validation",
        ),
        ({"data": HELD_OUT | {"pairing": {"kind": "several", "pictures": 3}}}, "'several' do not allow"),
        ({"data": HELD_OUT | {"generated": {"list": "x.csv", "share": 0.5}}}, "leave validation.data.generated out"),
        ({"data": DRAWN_PAIRS | {"first_identity": 199}}, r"people that training sees: .*first_identity=200"),
    ],
)
def test_a_validation_that_is_wrong_is_named_with_what_was_expected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_validation(**changes)


@pytest.mark.parametrize("changes", [{"first_identity": 200}, {"seed": 1}])
def test_drawn_people_who_are_others_may_be_held_out(changes: dict[str, Any]) -> None:
    assert with_validation(data=DRAWN_PAIRS | changes).validation is not None


def test_only_methods_that_generate_faces_are_validated() -> None:
    section = {"every_steps": 200, "data": HELD_OUT, "recogniser": {"name": "embedded_judge"}}
    table = tiny.table() | {"method": "recogniser", "settings": {}, "validation": section}
    with pytest.raises(ValueError, match=r"my\.toml: recogniser generates no faces .*leave \[validation\] out"):
        recipes.resolve(table, "my.toml")
