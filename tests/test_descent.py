import copy
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, StepLR

from facebridge import recipe as recipes
from facebridge import weights
from facebridge.descent import Cosine, Descent, Linear, roles
from facebridge.streamline import channels_last
from tests import tiny

# The published rules (systems of 2017 and 2018), as a recipe writes them.
LIGHT_CNN: dict[str, Any] = {
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "rates": {"classifier": 10, "classifier_bias": 20, "bias": 2},
    "decays": {"classifier_bias": 0, "bias": 0},
    "schedule": {"kind": "every", "every_steps": 2, "factor": 0.457305},
}
MOBILE_FACE_NET: dict[str, Any] = {
    "learning_rate": 0.1,
    "nesterov": True,
    "weight_decay": 4e-5,
    "decays": {"embedding": 4e-4, "classifier": 4e-4, "prelu": 0},
    "schedule": {"kind": "steps", "milestones": [36, 52, 58], "factor": 0.1},
}
SPHERE_FACE: dict[str, Any] = {
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
    "schedule": {"kind": "steps", "milestones": [16_000, 24_000]},
}


class Classifier(nn.Module):
    def __init__(self, num_identities: int, embedding_size: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_identities, embedding_size))
        if bias:
            self.bias = nn.Parameter(torch.randn(num_identities))


def descent(table: dict[str, Any], **changed: Any) -> Descent:
    return Descent.model_validate(table | changed)


def light_cnn() -> dict[str, nn.Module]:
    network = weights.network("light_cnn_9", height=32, width=32, width_multiplier=1 / 16)
    return {"network": channels_last(network), "head": Classifier(5, 16, bias=True)}


def named(modules: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    return {
        f"{key}.{name}": parameter for key, module in modules.items() for name, parameter in module.named_parameters()
    }


def give_gradients(modules: dict[str, nn.Module], step: int) -> dict[str, np.ndarray]:
    """Gradients of each tensor, laid out in memory as the tensor is."""
    draw = torch.Generator().manual_seed(step)
    gradients = {}
    for name, parameter in named(modules).items():
        gradient = torch.randn(parameter.shape, generator=draw)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        gradients[name] = gradient.double().numpy()
    return gradients


def take(optimiser: torch.optim.Optimizer, schedule: LRScheduler, steps: int) -> list[list[float]]:
    """The rates of all groups before each of the steps."""
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    return rates


def rates_of(table: dict[str, Any], steps: int) -> list[float]:
    wanted = descent({"learning_rate": 0.5, "schedule": table}).settled(steps)
    optimiser = wanted.optimiser({"network": nn.Linear(2, 2)})
    return [rate for (rate,) in take(optimiser, wanted.schedule_of(optimiser), steps)]


@pytest.mark.parametrize("nesterov", [False, True])
def test_light_cnns_rules_equal_a_plain_loop_over_its_tensors(nesterov: bool) -> None:
    modules = light_cnn()
    wanted = descent(LIGHT_CNN, nesterov=nesterov)
    optimiser = wanted.optimiser(modules)
    schedule = wanted.schedule_of(optimiser)
    assert any(not value.is_contiguous() for value in named(modules).values()), "flat memory would not be tested"
    expected = {name: value.detach().double().numpy().copy() for name, value in named(modules).items()}
    velocity = {name: np.zeros_like(value) for name, value in expected.items()}
    for step in range(5):
        gradients = give_gradients(modules, step)
        for name, value in expected.items():
            rate, decay = 0.01 * 0.457305 ** (step // 2), 1e-4
            if name.startswith("head."):
                rate *= 10
            if name.endswith(".bias"):
                rate, decay = rate * 2, 0.0
            gradient = gradients[name] + decay * value
            velocity[name] = 0.9 * velocity[name] + gradient
            value -= rate * (gradient + 0.9 * velocity[name] if nesterov else velocity[name])
        optimiser.step()
        schedule.step()
    for name, value in named(modules).items():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=2e-6, atol=2e-6, err_msg=name)


def test_adam_equals_a_plain_loop() -> None:
    modules = light_cnn()
    optimiser = Descent(kind="adam", learning_rate=0.01, weight_decay=0.01).optimiser(modules)
    expected = {name: value.detach().double().numpy().copy() for name, value in named(modules).items()}
    mean = {name: np.zeros_like(value) for name, value in expected.items()}
    square = copy.deepcopy(mean)
    for step in range(1, 6):
        gradients = give_gradients(modules, step)
        for name, value in expected.items():
            gradient = gradients[name] + 0.01 * value
            mean[name] = 0.9 * mean[name] + 0.1 * gradient
            square[name] = 0.999 * square[name] + 0.001 * gradient**2
            value -= 0.01 * mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
        optimiser.step()
    for name, value in named(modules).items():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_mobile_face_nets_decays_split_as_counted_by_hand() -> None:
    network = weights.network("mobile_facenet", height=64, width=64)
    optimiser = descent(MOBILE_FACE_NET).optimiser({"network": network, "head": Classifier(10, 128)})
    counted = {
        group["weight_decay"]: sum(value.numel() for value in group["params"]) for group in optimiser.param_groups
    }
    slopes = 64 + 64 + 2 * (5 * 128 + 256 + 6 * 256 + 512 + 2 * 256) + 512
    embedding = 512 * 128 + 2 * 128
    # The published network is for 112x112 faces, whose last depthwise kernel is 7x7 instead of 4x4.
    everything = 1_003_136 - 512 * (7 * 7 - 4 * 4)
    assert counted == {0: slopes, 4e-4: embedding + 10 * 128, 4e-5: everything - slopes - embedding}
    assert len(optimiser.param_groups) == 3


def test_light_cnns_roles_split_as_counted_by_hand() -> None:
    with torch.device("meta"):
        network = weights.network("light_cnn_9", num_classes=7)
    counted = count(network)
    # Twice the channels of every max-feature-map, in the order of the layers.
    biases = 2 * (48 + 48 + 96 + 96 + 192 + 192 + 128 + 128 + 128) + 2 * 256
    assert counted["bias"] == biases
    assert counted["embedding"] == 8192 * 512
    assert (counted["classifier"], counted["classifier_bias"]) == (7 * 256, 7)
    assert counted["weight"] == 5_480_864 - biases - 8192 * 512
    assert len(counted) == 5


def test_sphere_faces_roles_split_as_counted_by_hand() -> None:
    with torch.device("meta"):
        network = weights.network("sphereface_20")
    counted = count(network)
    channels = 64 * 3 + 128 * 5 + 256 * 9 + 512 * 3
    assert counted["prelu"] == channels
    assert counted["bias"] == channels + 512
    assert counted["embedding"] == 21504 * 512
    assert counted["weight"] == 22_670_656 - 2 * channels - 512 - 21504 * 512
    optimiser = descent(SPHERE_FACE).optimiser({"network": weights.network("sphereface_20", width_multiplier=1 / 64)})
    assert len(optimiser.param_groups) == 1, "its rules are the same for every tensor"


def count(network: nn.Module) -> dict[str, int]:
    counted: dict[str, int] = {}
    for role, parameter in roles({"network": network}):
        counted[role] = counted.get(role, 0) + parameter.numel()
    return counted


@pytest.mark.parametrize("table", [LIGHT_CNN, MOBILE_FACE_NET, SPHERE_FACE, {"kind": "adam"}])
@pytest.mark.parametrize("name", ["mobile_facenet", "light_cnn_9", "sphereface_20"])
def test_every_trainable_tensor_is_in_one_group_and_no_frozen_one(name: str, table: dict[str, Any]) -> None:
    network = weights.network(name, height=32, width=32, width_multiplier=1 / 16)
    modules = {"network": network, "head": Classifier(3, 16, bias=True)}
    frozen = next(network.parameters()).requires_grad_(False)
    optimiser = descent(table).optimiser(modules)
    grouped = [id(parameter) for group in optimiser.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in named(modules).values() if parameter is not frozen)
    pairs = [(group["lr"], group["weight_decay"]) for group in optimiser.param_groups]
    assert len(set(pairs)) == len(pairs)


def test_a_tensor_that_two_networks_share_descends_once() -> None:
    shared = nn.Linear(3, 3)
    modules = {"vis": nn.Sequential(shared, nn.Linear(3, 2)), "nir": nn.Sequential(shared)}
    optimiser = Descent().optimiser(modules)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 4


def test_groups_do_not_depend_on_the_order_in_which_modules_are_given() -> None:
    modules = light_cnn()
    there = descent(LIGHT_CNN).optimiser(modules)
    back = descent(LIGHT_CNN).optimiser(dict(reversed(modules.items())))
    for one, other in zip(there.param_groups, back.param_groups, strict=True):
        assert [id(value) for value in one["params"]] == [id(value) for value in other["params"]]


def test_nothing_to_train_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to train in network: every tensor is frozen"):
        Descent().optimiser({"network": nn.Linear(2, 2).requires_grad_(False)})


def test_steps_fall_as_torchs_own_schedule() -> None:
    optimiser = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.5)
    expected = [rate for (rate,) in take(optimiser, MultiStepLR(optimiser, [3, 4, 9], 0.3), 12)]
    found = rates_of({"kind": "steps", "milestones": [3, 4, 9], "factor": 0.3}, 12)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_every_falls_as_torchs_own_schedule() -> None:
    optimiser = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.5)
    expected = [rate for (rate,) in take(optimiser, StepLR(optimiser, 10, 0.457305), 35)]
    np.testing.assert_allclose(rates_of({"kind": "every", "every_steps": 10, "factor": 0.457305}, 35), expected)


def test_a_constant_rate_stays() -> None:
    assert rates_of({"kind": "constant"}, 5) == [0.5] * 5


def test_cosine_rises_linearly_and_falls_like_half_a_cosine() -> None:
    rates = rates_of({"kind": "cosine", "warm_up_steps": 4}, 24)
    np.testing.assert_allclose(rates[:4], [0.125, 0.25, 0.375, 0.5])
    # A cosine of an angle that is halved again and again, by the half-angle formula alone.
    np.testing.assert_allclose([rates[4], rates[14]], [0.5, 0.25])
    np.testing.assert_allclose(rates[9], 0.25 * (1 + math.sqrt(0.5)))
    np.testing.assert_allclose(np.array(rates[4:]) + ([*rates[4:], 0.0])[:0:-1], 0.5)
    assert np.all(np.diff(rates[4:]) < 0)


def test_cosine_is_zero_once_its_steps_are_done() -> None:
    rates = rates_of({"kind": "cosine", "steps": 6}, 9)
    assert rates[5] > 0
    assert rates[6:] == [0, 0, 0]


def test_a_line_keeps_the_rate_for_a_part_and_falls_evenly_to_zero_at_the_last_step() -> None:
    rates = rates_of({"kind": "linear", "constant_part": 0.4}, 10)
    np.testing.assert_allclose(rates, [0.5] * 5 + [0.5 * left / 6 for left in (5, 4, 3, 2, 1)])
    assert rates_of({"kind": "linear", "steps": 4, "constant_part": 0}, 6) == [0.5, 0.375, 0.25, 0.125, 0, 0]


def test_a_line_without_a_length_keeps_the_rate() -> None:
    assert Linear().rate(10**9) == 1


def test_a_training_shorter_than_its_warm_up_only_rises() -> None:
    assert rates_of({"kind": "cosine", "warm_up_steps": 10}, 3) == pytest.approx([0.05, 0.1, 0.15])


def test_the_length_of_training_is_filled_in_only_where_it_is_absent() -> None:
    open_end = descent({"schedule": {"kind": "cosine", "warm_up_steps": 3}})
    assert open_end.settled(50).schedule == Cosine(kind="cosine", warm_up_steps=3, steps=50)
    assert open_end.settled(50).settled(60) == open_end.settled(50)
    for table in (LIGHT_CNN, MOBILE_FACE_NET):
        assert descent(table).settled(50) == descent(table)
    optimiser = open_end.optimiser({"network": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="needs the length of the training"):
        open_end.schedule_of(optimiser)


SCHEDULES = st.one_of(
    st.just({"kind": "constant"}),
    st.builds(
        lambda steps, factor: {"kind": "steps", "milestones": sorted(steps), "factor": factor},
        st.sets(st.integers(1, 12), min_size=1),
        st.floats(0.01, 1),
    ),
    st.builds(
        lambda steps, factor: {"kind": "every", "every_steps": steps, "factor": factor},
        st.integers(1, 12),
        st.floats(0.01, 1),
    ),
    st.builds(lambda steps: {"kind": "cosine", "warm_up_steps": steps}, st.integers(0, 12)),
)


@given(SCHEDULES, st.integers(0, 9), st.sampled_from(["sgd", "adam"]))
def test_a_schedule_goes_on_exactly_from_a_state_written_as_json(
    schedule: dict[str, Any], before: int, kind: str
) -> None:
    table = {"kind": kind, "learning_rate": 0.3, "rates": {"bias": 2}, "decays": {"bias": 0}, "schedule": schedule}
    wanted = descent(table).settled(10)

    def started() -> tuple[torch.optim.Optimizer, LRScheduler]:
        optimiser = wanted.optimiser({"network": nn.Linear(2, 2)})
        return optimiser, wanted.schedule_of(optimiser)

    unbroken = take(*started(), 10)
    optimiser, rates = started()
    assert take(optimiser, rates, before) == unbroken[:before]
    state, groups = json.loads(json.dumps([rates.state_dict(), optimiser.state_dict()["param_groups"]]))
    optimiser, rates = started()
    optimiser.load_state_dict({"state": {}, "param_groups": groups})
    rates.load_state_dict(state)
    assert take(optimiser, rates, 10 - before) == unbroken[before:]
    assert len(unbroken[0]) == 2


@pytest.mark.parametrize("field", ["rates", "decays"])
def test_an_unknown_role_is_refused_with_the_known_ones(field: str) -> None:
    known = "'weight', 'bias', 'norm', 'prelu', 'embedding', 'classifier' or 'classifier_bias'"
    with pytest.raises(ValidationError, match=known):
        descent({field: {"fc2": 10}})


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"nesterov": True, "momentum": 0}, "nesterov goes with"),
        ({"nesterov": True, "kind": "adam"}, "nesterov goes with"),
        ({"schedule": {"kind": "steps", "milestones": [5, 5]}}, "milestones must rise"),
        ({"schedule": {"kind": "steps", "milestones": []}}, "at least 1 item"),
        ({"schedule": {"kind": "line"}}, "'constant', 'steps', 'every', 'cosine', 'linear'"),
        ({"rates": {"bias": -1}}, "greater than or equal to 0"),
        ({"weight_decay": math.inf}, "finite"),
    ],
)
def test_impossible_settings_are_refused(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        descent(table)


def test_a_descent_survives_the_toml_of_a_recipe() -> None:
    recipe = tiny.recipe()
    for table in (LIGHT_CNN, MOBILE_FACE_NET, {"schedule": {"kind": "cosine", "warm_up_steps": 3}}):
        wanted = descent(table)
        written = recipe.model_copy(update={"settings": {"descent": wanted.model_dump(mode="json")}})
        read = recipes.tomllib.loads(recipes.to_toml(written))["settings"]["descent"]
        assert descent(read) == wanted
