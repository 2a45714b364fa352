import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import facebridge
from facebridge import runs, training, weights
from facebridge.runs import Checkpoint, Run
from tests import tiny


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A folder without checkpoints."""
    return runs.create(tmp_path / "run", tiny.recipe())


def checkpoint(step: int) -> Checkpoint:
    tensors = {"networks/weight": torch.full((50,), float(step)), "optimisers/adam/0/step": torch.tensor(float(step))}
    return Checkpoint(step, tensors, {"threads": 1, "groups": {"adam": [{"lr": 0.1 / step}]}, "schedules": {}})


def flip_a_bit(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(bytes(data))


def files(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "checkpoints").iterdir())


def test_a_checkpoint_comes_back_as_it_was(run: Run) -> None:
    saved = checkpoint(3)
    run.save(saved)
    found = run.last()
    assert found is not None
    assert found.step == 3
    assert found.state == saved.state | {"step": 3}
    assert found.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in saved.tensors.items())


def test_a_new_run_has_no_checkpoint(run: Run) -> None:
    assert run.last() is None
    assert run.steps() == []
    assert run.log() == []
    assert run.validations() == []
    assert run.diagnoses() == []
    assert run.bad_pictures() == []


def test_the_newest_two_checkpoints_are_kept(run: Run) -> None:
    for step in (1, 2, 30):
        run.save(checkpoint(step))
    assert run.steps() == [2, 30]
    assert files(run) == [f"step-{step:08d}.{suffix}" for step in (2, 30) for suffix in ("json", "safetensors")]


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9])
def test_a_checkpoint_with_one_flipped_bit_is_passed_over(run: Run, suffix: str, place: float) -> None:
    run.save(checkpoint(1))
    run.save(checkpoint(2))
    flip_a_bit(run.folder / "checkpoints" / f"step-00000002.{suffix}", place)
    found = run.last()
    assert found is not None
    assert found.step == 1


def test_a_checkpoint_without_its_tensors_is_passed_over(run: Run) -> None:
    run.save(checkpoint(1))
    run.save(checkpoint(2))
    (run.folder / "checkpoints" / "step-00000002.safetensors").unlink()
    found = run.last()
    assert found is not None
    assert found.step == 1


def test_when_every_checkpoint_is_damaged_the_run_says_so(run: Run) -> None:
    for step in (1, 2):
        run.save(checkpoint(step))
        flip_a_bit(run.folder / "checkpoints" / f"step-{step:08d}.safetensors")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        run.last()


def test_a_damaged_checkpoint_does_not_push_out_whole_ones(run: Run) -> None:
    run.save(checkpoint(1))
    run.save(checkpoint(9))
    flip_a_bit(run.folder / "checkpoints" / "step-00000009.safetensors")
    run.save(checkpoint(2))
    assert run.steps() == [1, 2]


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace"])
def test_a_disk_that_fails_leaves_the_checkpoint_before_and_no_litter(
    run: Run, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    run.save(checkpoint(1))
    before = files(run)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(broken, full)
        with pytest.raises(OSError, match="No space left"):
            run.save(checkpoint(2))
    assert files(run) == before
    found = run.last()
    assert found is not None
    assert found.step == 1


def test_tensors_without_a_state_file_do_not_count_and_are_swept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save(checkpoint(1))
    honest = runs.write_bytes

    def killed_between(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        honest(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_bytes", killed_between)
        with pytest.raises(KeyboardInterrupt):
            run.save(checkpoint(2))
    assert run.steps() == [1]
    runs.create(run.folder, tiny.recipe())
    assert files(run) == ["step-00000001.json", "step-00000001.safetensors"]


def test_opening_a_run_sweeps_what_a_crash_left(run: Run) -> None:
    left = [run.folder / "recipe.toml.7.part", run.folder / "checkpoints" / "step-00000001.json.7.part"]
    for path in left:
        path.write_bytes(b"half")
    runs.create(run.folder, tiny.recipe())
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("left", [(), (".lock",), (".lock", "recipe.toml.123.part")])
def test_a_folder_whose_making_was_killed_can_be_used_again(tmp_path: Path, left: tuple[str, ...]) -> None:
    for name in left:
        (tmp_path / name).write_bytes(b"")
    assert runs.create(tmp_path, tiny.recipe()).recipe == tiny.recipe()


@pytest.mark.parametrize("name", ["holiday.jpg", "thesis.part"])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        runs.create(tmp_path, tiny.recipe())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_of_another_recipe_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="another recipe"):
        runs.create(run.folder, tiny.recipe(steps=7))


def test_a_torn_last_line_of_a_log_is_forgotten(run: Run) -> None:
    log = run.folder / "run.jsonl"
    log.write_text('{"event": "start"}\n{"event": "bad pic', "utf-8")
    assert runs.lines(log) == [{"event": "start"}]
    runs.create(run.folder, tiny.recipe())
    runs.add_line(log, {"event": "start"})
    assert runs.lines(log) == [{"event": "start"}, {"event": "start"}]


def test_a_second_writer_is_refused_and_told_which_process_is_writing(tmp_path: Path) -> None:
    with runs.locked(tmp_path):
        with (
            pytest.raises(ValueError, match=f"is being written by process {os.getpid()}$"),
            runs.locked(tmp_path),
        ):
            pass
        with pytest.raises(ValueError, match=f"is being written by process {os.getpid()}$"):
            training.train(tiny.recipe(), tmp_path, faces=tiny.RandomFaces(), device="cpu", progress=False)
    with runs.locked(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, signal, sys\n"
        "lock = open(sys.argv[1], 'a+')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / runs.LOCK)], check=False)
    with runs.locked(tmp_path):
        assert (tmp_path / runs.LOCK).read_text() == str(os.getpid())


def trained(folder: Path, steps: int) -> Run:
    before = torch.get_num_threads()
    try:
        return training.train(tiny.recipe(steps=steps), folder, faces=tiny.RandomFaces(), device="cpu", progress=False)
    finally:
        torch.set_num_threads(before)


def test_load_gives_the_trained_method_frozen_and_ready_to_generate(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", steps=2)
    method = facebridge.load(run.folder)
    written = weights.read(run.weights)
    assert method.state_dict().keys() == written.keys()
    assert all(torch.equal(tensor, written[name]) for name, tensor in method.state_dict().items())
    assert not method.training
    assert not any(parameter.requires_grad for parameter in method.parameters())
    generated = method.generate(torch.rand(2, 3, 7, 6))
    assert generated.shape == (2, 3, 28, 24)
    assert generated.min() >= 0
    assert generated.max() <= 1


def test_load_takes_the_newest_checkpoint_of_an_unfinished_run(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", steps=4)
    from_weights = runs.load(str(run.folder)).state_dict()
    run.weights.unlink()
    from_checkpoint = runs.load(run.folder).state_dict()
    assert all(torch.equal(tensor, from_checkpoint[name]) for name, tensor in from_weights.items())
    flip_a_bit(run.folder / "checkpoints" / "step-00000004.safetensors")
    older = runs.load(run.folder).state_dict()
    assert any(not torch.equal(tensor, older[name]) for name, tensor in from_weights.items())


def test_load_takes_a_bundle_of_recipe_and_weights(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", steps=1)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("recipe.toml", "weights.safetensors"):
        (bundle / name).write_bytes((run.folder / name).read_bytes())
    assert runs.load(bundle).state_dict().keys() == runs.load(run.folder).state_dict().keys()


def test_load_takes_the_best_weights_where_there_are_some_and_the_last_when_asked(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", steps=4)
    last = weights.read(run.weights)
    assert run.trained() == run.weights
    weights.write(run.best, {name: tensor + 1 for name, tensor in last.items()}, {"combined": "0.25"})
    assert (run.trained(), run.trained("last")) == (run.best, run.weights)
    assert run.best_figure("combined") == 0.25
    for method, moved in ((facebridge.load(run.folder), 1), (facebridge.load(run.folder, which="last"), 0)):
        assert all(torch.equal(tensor, last[name] + moved) for name, tensor in method.state_dict().items())
    run.weights.unlink()
    assert run.trained("last") == run.folder / "checkpoints" / "step-00000004.safetensors"
    from_checkpoint = runs.load_hallucination(run.folder, "last").state_dict()
    assert all(torch.equal(tensor, last[name]) for name, tensor in from_checkpoint.items())


def test_weights_are_the_best_or_the_last(run: Run) -> None:
    assert run.best_figure("combined") == float("inf")
    with pytest.raises(ValueError, match="best or last, not 'first'"):
        run.trained("first")  # type: ignore[arg-type]


def test_load_of_a_folder_that_is_no_run_says_what_is_missing(tmp_path: Path, run: Run) -> None:
    with pytest.raises(ValueError, match=r"nothing is not a run: there is no such folder.*shipped"):
        runs.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="neither weights.safetensors nor a checkpoint: train it first"):
        runs.load(run.folder)


def test_provenance_is_plain_json_with_versions_commit_machine_and_command() -> None:
    found = runs.provenance()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["torch"] == torch.__version__
    assert set(found["versions"]) == {"python", *runs.PACKAGES}
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["commit"]
    assert found["command"]
    assert found["time"].endswith("+00:00")
