"""tp_gan trains each network by what it should, on faces turned to one side, and generates the front of any side."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facebridge import crops
from facebridge import recipe as recipes
from facebridge.method import TakesPoints
from facebridge.methods import tp_gan
from facebridge.methods.tp_gan import TpGan, statistics_kept
from facebridge.methods.tp_gan.losses import (
    judged,
    local_loss,
    pixel_loss,
    scales_of,
    symmetry_loss,
    total_variation,
)
from facebridge.methods.tp_gan.networks import Frontal
from tests.drawn import thin_recogniser
from tests.methods.translating import unchanged

CROP = crops.crop("tp_gan_32")
TINY = {
    "num_filters": 4,
    "feature_size": 5,
    "noise_size": 3,
    "eye_size": (16, 16),
    "nose_size": (8, 16),
    "mouth_size": (8, 16),
    "discriminator_filters": 4,
    "num_identities": 3,
    "identity_weight": 0.0,
}
STILL = {
    f"{name}descent": {"kind": "adam", "learning_rate": 1e-30, "weight_decay": 0}
    for name in ("", "local_", "discriminator_")
}
WEIGHTED = ("pixel", "symmetry", "adversarial", "identity", "variation", "cross_entropy")


def build(recogniser: bool = False, **settings: object) -> TpGan:
    frozen = thin_recogniser().requires_grad_(False) if recogniser else None
    torch.manual_seed(0)
    return TpGan(TpGan.Config.model_validate({**TINY, **settings}), CROP, frozen)


def batch(looks_left: bool = False) -> dict[str, Tensor]:
    """Blurred noise, with points of which the nose lies to one side."""
    draw = torch.Generator().manual_seed(4)
    faces = functional.interpolate(torch.rand(6, 3, 8, 8, generator=draw), (32, 32), mode="bilinear")
    points = torch.tensor(CROP.points).repeat(3, 1, 1)
    points[:, 2, 0] += 5.0
    made = {"source": faces[:3], "target": faces[3:], "source_points5": points, "target_identity": torch.arange(3)}
    return mirror(made) if looks_left else made


def mirror(shown: dict[str, Tensor]) -> dict[str, Tensor]:
    points = shown["source_points5"][:, [1, 0, 2, 4, 3]]
    points = torch.stack([31 - points[..., 0], points[..., 1]], -1)
    return shown | {
        "source": shown["source"].flip(-1),
        "target": shown["target"].flip(-1),
        "source_points5": points,
    }


def front(method: TpGan, shown: dict[str, Tensor]) -> Frontal:
    pictures = 2 * shown["source"] - 1
    local = method.local_paths(pictures, shown["source_points5"])
    made, code = method.global_path(pictures, torch.zeros(3, 3), *local[:2])
    return Frontal(made, local, code)


@pytest.mark.parametrize("local_update", ["separate", "joint"])
def test_each_loss_is_of_the_pictures_that_it_is_meant_for_and_the_total_weighs_them(local_update: str) -> None:
    settings = {"identity_weight": 0.5, "generator_updates": 1, "noise_spread": 0.0, "local_update": local_update}
    method = build(True, **settings, **STILL)
    method.identity_head.dropout.p = 0.0
    shown = batch()
    target = 2 * shown["target"] - 1
    with torch.no_grad():
        made = front(method, shown)
        full, config = made.pictures[0], method.config
        (scores,), (real,) = method.discriminator(full), method.discriminator(target)
        parts = [place.of(target) for place in method.places]
        eye, nose, mouth = config.local_weights
        expected = {
            "discriminator": judged(real, 0.9) + judged(scores, 0.0),
            "local": local_loss(made.local.parts, parts, (eye, eye, nose, mouth)),
            "pixel": pixel_loss(made.pictures, scales_of(target), config.scale_weights),
            "symmetry": symmetry_loss(made.pictures, config.scale_weights),
            "adversarial": judged(scores, 0.9),
            "identity": method.identity_loss((full + 1) / 2, shown["target"]),
            "variation": total_variation(full),
            "cross_entropy": functional.cross_entropy(method.identity_head.classifier(made.code), torch.arange(3)),
        }
    weights = {name: getattr(config, f"{name}_weight") for name in WEIGHTED}
    weights |= {"local": 1.0} if local_update == "joint" else {}
    expected["total"] = sum(weight * expected[name] for name, weight in weights.items())
    found = method.training_step(shown)
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(
        {name: float(loss) for name, loss in expected.items()}, rel=1e-4
    )


@pytest.mark.parametrize("name", [*WEIGHTED, "local"])
def test_a_weight_of_zero_leaves_its_loss_out_and_does_not_compute_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Tensor:
        raise AssertionError(name)

    functions = {"pixel": "pixel_loss", "symmetry": "symmetry_loss", "variation": "total_variation"}
    functions |= {"adversarial": "judged", "local": "local_loss"}
    if name in functions:
        monkeypatch.setattr(tp_gan, functions[name], refused)
    settings = {"local_weights": (0, 0, 0)} if name == "local" else {f"{name}_weight": 0}
    method = build(name != "identity", **{"identity_weight": 0.5, **settings})
    found = method.training_step(batch())
    assert name not in found
    assert set(found) >= {each for each in WEIGHTED if each != name}
    weights = {each: getattr(method.config, f"{each}_weight") for each in WEIGHTED if each in found}
    total = sum(weight * float(found[each]) for each, weight in weights.items())
    assert float(found["total"]) == pytest.approx(total, rel=1e-5)


def updates_of(method: TpGan, shown: dict[str, Tensor]) -> list[tuple[str, set[str]]]:
    """Each step of an optimiser, with the networks whose tensors it changed."""
    found: list[tuple[str, set[str]]] = []
    before = {name: tensor.detach().clone() for name, tensor in method.named_parameters()}

    def record(name: str) -> None:
        now = {each: tensor.detach().clone() for each, tensor in method.named_parameters()}
        changed = set(now) - set(unchanged(before, now))
        found.append((name, {each.split(".")[0] for each in changed}))
        before.update(now)

    for name, optimiser in method.optimisers.items():
        optimiser.register_step_post_hook(lambda *_, name=name: record(name))
    method.training_step(shown)
    return found


def test_each_update_moves_its_own_networks_in_the_published_order() -> None:
    rest = {"global_path", "identity_head"}
    local, judge = ("local", {"local_paths"}), ("discriminator", {"discriminator"})
    update = [("generator", rest), local]
    assert updates_of(build(), batch()) == [local, judge, *update, local, *update]
    assert updates_of(build(local_update="joint", generator_updates=1), batch()) == [judge, *update]


def test_a_mirrored_source_gives_the_mirrored_front() -> None:
    method = build().eval()
    right, left = batch(), batch(looks_left=True)
    made = method.generate_at(right["source"], right["source_points5"])
    mirrored = method.generate_at(left["source"], left["source_points5"])
    assert torch.equal(made.flip(-1), mirrored)
    assert isinstance(method, TakesPoints)
    for title, shown in method.preview(right).items():
        assert torch.equal(shown.flip(-1), method.preview(left)[title]), title


def test_a_mirrored_pair_trains_the_same() -> None:
    found, mirrored = (build(noise_spread=0.0).training_step(batch(side)) for side in (False, True))
    assert {name: float(loss) for name, loss in found.items()} == {name: float(mirrored[name]) for name in found}


def test_without_points_those_of_the_crop_are_taken() -> None:
    method = build().eval()
    faces = batch()["source"]
    points = torch.tensor(CROP.points).repeat(3, 1, 1)
    made = method.generate(faces)
    assert made.dtype == torch.float32
    assert made.shape == faces.shape
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert torch.equal(made, method.generate_at(faces, points))


def test_points_of_a_face_decide_what_is_made() -> None:
    method = build().eval()
    faces, points = batch()["source"], batch()["source_points5"]
    made = method.generate_at(faces, points)
    assert not torch.equal(made, method.generate_at(faces, points + 3))
    assert torch.allclose(made[:1], method.generate_at(faces[:1], points[:1]), atol=1e-6)


def test_own_statistics_are_those_of_the_faces_together_and_change_no_running_ones() -> None:
    method = build(statistics_in_use="own").eval()
    faces = batch()["source"]
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    together = method.generate(faces)
    assert unchanged(before, method.state_dict()) == list(before)
    assert not torch.allclose(together[:1], method.generate(faces[:1]), atol=1e-5)
    assert not torch.allclose(together, build().eval().generate(faces), atol=1e-5)
    running = build().eval()
    assert torch.allclose(running.generate(faces)[:1], running.generate(faces[:1]), atol=1e-6)


def test_generating_leaves_a_training_network_in_training() -> None:
    method = build(statistics_in_use="own").train()
    method.preview(batch())
    assert all(module.training for module in method.modules())


def test_kept_statistics_are_as_they_were_while_faces_are_normalised_by_the_batch() -> None:
    method = build()
    shown = batch()
    before = {
        name: tensor.clone() for name, tensor in method.state_dict().items() if "_path" in name and "running" in name
    }
    with torch.no_grad():
        with statistics_kept(method):
            kept = front(method, shown).pictures[0]
        assert unchanged(before, {name: method.state_dict()[name] for name in before}) == list(before)
        assert torch.equal(kept, front(method, shown).pictures[0])
    assert unchanged(before, {name: method.state_dict()[name] for name in before}) == []


def test_noise_of_training_is_of_the_spread_that_is_set() -> None:
    seen: list[Tensor] = []
    method = build(noise_size=500, noise_spread=0.02)
    method.global_path.register_forward_pre_hook(lambda module, taken: seen.append(taken[1]))
    method.training_step(batch())
    assert float(seen[0].std()) == pytest.approx(0.02, rel=0.1)
    assert not torch.equal(seen[0], seen[1])
    method.generate(batch()["source"])
    assert not seen[2].any()


def test_training_comes_nearer_to_the_target() -> None:
    quick = {"kind": "adam", "learning_rate": 3e-3, "weight_decay": 0}
    settings = {"first_weights": "he", "local_update": "joint", "descent": quick, "local_descent": quick}
    method = build(True, identity_weight=1e-3, generator_updates=1, **settings)
    losses = [method.training_step(batch()) for _ in range(12)]
    assert all(bool(torch.isfinite(loss)) for step in losses for loss in step.values())
    assert float(losses[-1]["pixel"]) < 0.95 * float(losses[0]["pixel"])
    assert float(losses[-1]["local"]) < float(losses[0]["local"])


def test_losses_are_float32_where_networks_run_in_bfloat16() -> None:
    method = build(True, identity_weight=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = method.training_step(batch())
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    assert all(bool(torch.isfinite(loss)) for loss in found.values())
    assert method.generate(batch()["source"]).dtype == torch.float32


def test_two_steps_change_every_tensor() -> None:
    method = build()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for _ in range(2):
        method.training_step(batch())
    normalised = (".conv.bias", ".first.bias", ".second.bias", ".up.bias")  # the mean takes them away again
    assert [name for name in unchanged(before, method.state_dict()) if not name.endswith(normalised)] == []


def test_without_local_paths_the_global_path_alone_is_trained() -> None:
    method = build(local_paths=False)
    assert set(method.optimisers) == {"generator", "discriminator"}
    found = method.training_step(batch())
    assert "local" not in found
    assert set(method.preview(batch())) == {"source", "generated", "target"}
    assert not any("local" in name for name in method.state_dict())


def test_without_an_adversarial_or_a_cross_entropy_loss_their_networks_are_not_there() -> None:
    method = build(adversarial_weight=0, cross_entropy_weight=0)
    assert {name.split(".")[0] for name in method.state_dict()} == {"global_path", "local_paths"}
    shown = {name: value for name, value in batch().items() if name != "target_identity"}
    assert set(method.training_step(shown)) == {"local", "pixel", "symmetry", "variation", "total"}


def test_the_training_faces_decide_how_many_people_there_are_and_the_updates_how_long_rates_last() -> None:
    falling = {"kind": "adam", "schedule": {"kind": "linear"}}
    settings = {"descent": falling, "local_descent": falling, "discriminator_descent": falling, "generator_updates": 3}
    config = TpGan.settled(TpGan.Config.model_validate(settings), steps=10, num_identities=lambda: 7)
    assert config.num_identities == 7
    lengths = [each.schedule.steps for each in (config.descent, config.local_descent, config.discriminator_descent)]
    assert lengths == [30, 60, 10]
    with pytest.raises(ValueError, match="show 7 people and settings.num_identities is 3"):
        TpGan.settled(TpGan.Config(num_identities=3), steps=10, num_identities=lambda: 7)


@pytest.mark.parametrize("local_paths", [False, True])
def test_batches_without_points_are_refused(local_paths: bool) -> None:
    method = build(local_paths=local_paths)
    assert method.wants_five_points
    shown = {name: value for name, value in batch().items() if name != "source_points5"}
    with pytest.raises(ValueError, match="to which side it looks"):
        method.training_step(shown)


def test_batches_without_sources_or_with_those_of_other_people_are_refused() -> None:
    shown = batch()
    alone = {name: value for name, value in shown.items() if not name.startswith("source")}
    for wrong in (alone, shown | {"source": shown["source"][:, None]}):
        with pytest.raises(ValueError, match=r"data\.pairing\.kind to profile_to_frontal$"):
            build().training_step(wrong)
    with pytest.raises(ValueError, match="must show one person"):
        build().training_step(shown | {"source_identity": torch.tensor([0, 2, 1])})
    build().training_step(shown | {"source_identity": torch.arange(3)})


def test_a_single_face_is_refused_where_the_batch_has_nothing_else_to_normalise_by() -> None:
    shown = {name: value[:1] for name, value in batch().items()}
    with pytest.raises(ValueError, match=r"up to 32 px.*training\.batch_size"):
        build().training_step(shown)
    with pytest.raises(ValueError, match="larger patches"):
        build(adversarial_weight=0, nose_size=(8, 8)).training_step(shown)
    found = build(adversarial_weight=0).training_step(shown)
    assert all(bool(torch.isfinite(loss)) for loss in found.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({f"{name}_weight": 0 for name in WEIGHTED}, "nothing to learn from: set one of pixel_weight, symm"),
        ({"scale_weights": (0, 0, 0)}, "all scale_weights are 0"),
        ({"scale_weights": (0, 0, 0), "pixel_weight": 0}, "all scale_weights are 0"),
        ({"noise_spread": float("inf")}, "noise_spread"),
    ],
)
def test_settings_that_teach_nothing_or_are_not_finite_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TpGan.Config.model_validate(settings)


def test_sizes_may_weigh_nothing_where_no_loss_looks_at_them() -> None:
    found = build(scale_weights=(0, 0, 0), pixel_weight=0, symmetry_weight=0).training_step(batch())
    assert bool(torch.isfinite(found["total"]))


def test_recipes_that_mirror_sources_and_targets_each_by_chance_are_refused() -> None:
    mirrored = ["training.mirror=true"]
    with pytest.raises(ValueError, match=r"training\.mirror=false or data\.pairing\.mirror_together=true$"):
        recipes.read("tp_gan_small", mirrored)
    assert recipes.read("tp_gan_small", [*mirrored, "data.pairing.mirror_together=true"]).training.mirror
    same_shot = [*mirrored, 'data.pairing={kind="same_shot"}', "data.frontal_partners=false"]
    assert recipes.read("tp_gan_small", same_shot).training.mirror
    with pytest.raises(ValueError, match=r"mirrored by chance: set training\.mirror=false$"):
        recipes.read("tp_gan_small", [*mirrored, 'data.pairing={kind="several", pictures=2}'])
    generated = 'data.generated={list="made.csv", share=0.5, pairing={kind="same_person"}}'
    with pytest.raises(ValueError, match=r"data\.generated\.pairing\.mirror_together=true$"):
        recipes.read("tp_gan_small", [*mirrored, "data.pairing.mirror_together=true", generated])


def test_a_crop_whose_sides_are_no_multiples_of_sixteen_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        TpGan(TpGan.Config.model_validate(TINY), crops.crop("tp_gan_40"))
