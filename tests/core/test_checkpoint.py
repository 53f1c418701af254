"""Checkpoints: saved atomically, loaded unchanged, and refused if damaged."""

import random
import resource
import zipfile
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from toy_env import ToyEnv

from protege.core.errors import UserError
from protege.core.files import write_atomically
from protege.core.learning.policy import ModelConfig
from protege.core.runs.checkpoint import Checkpoint, load, save, save_release, sealed
from protege.core.runs.load_policy import LoadedPolicy, load_policy, make_actor_critic

SMALL = {"latent_dim": 16, "ff_size": 16, "num_layers": 1, "num_heads": 2, "mlp_units": [16], "critic_units": [16]}


@pytest.fixture
def obs():
    env = ToyEnv(64)
    return env.step(torch.zeros(64, env.num_actions)).obs


@pytest.fixture
def policy(obs):
    env = ToyEnv(2)
    policy = make_actor_critic(env, ModelConfig(**SMALL))
    policy.update_normalizers(obs)
    with torch.no_grad():  # away from the start, where the last layer gives next to nothing
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return policy.eval()


@pytest.fixture
def checkpoint(policy):
    env = ToyEnv(2)
    return Checkpoint(
        kind="tracker",
        config={"model": SMALL, "run": {"seed": 3, "max_time": None}},
        robot="toy",
        joint_names=list(env.robot.joint_names),
        obs_shapes={name: list(shape) for name, shape in env.obs_shapes.items()},
        model=policy.state_dict(),
        iteration=7,
        samples=224,
        seconds=1.5,
        finished=True,
        metrics={"episode/length": 12.5},
        training={"optimizer": {"state": {0: torch.arange(3)}, "lr": torch.tensor(1e-4)}, "rng": torch.get_rng_state()},
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


def test_a_saved_checkpoint_loads_unchanged(checkpoint, tmp_path):
    path = tmp_path / "runs" / "a" / "last.ckpt"
    save(path, checkpoint)
    loaded = load(path)
    for f in fields(Checkpoint):
        assert same(getattr(loaded, f.name), getattr(checkpoint, f.name)), f.name
    assert loaded.versions["torch"] == version("torch")
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_the_command_mask_of_early_checkpoints_is_split_into_masks(checkpoint, obs, tmp_path):
    """The masks were the columns of one observation, which had no weights."""
    shapes = {name: shape for name, shape in checkpoint.obs_shapes.items() if not name.endswith("_mask")}
    pose_mask = {"pose_mask": checkpoint.obs_shapes["pose_mask"]}
    save(tmp_path / "last.ckpt", replace(checkpoint, obs_shapes=shapes | pose_mask | {"command_mask": [3]}))
    loaded = load_policy(tmp_path)
    assert loaded.obs_shapes == checkpoint.obs_shapes
    save(tmp_path / "new.ckpt", checkpoint)
    assert torch.equal(loaded.policy.distribution(obs)[0], acts(tmp_path / "new.ckpt", obs))


def test_a_failed_write_leaves_only_the_old_file(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    save(path, checkpoint)
    before = path.read_bytes()

    class Unwritable:
        def __reduce__(self):
            raise ArithmeticError("half-way")

    with pytest.raises(ArithmeticError):
        save(path, replace(checkpoint, iteration=8, training={"big": torch.zeros(10_000), "bad": Unwritable()}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

    def full(file):
        file.write(b"begun")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*last\.ckpt \(No space left on device\)"):
        write_atomically(path, full)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_during_saving_is_one_error_line(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    save(path, checkpoint)
    before = path.read_bytes()
    big = replace(checkpoint, iteration=8, training={"big": torch.rand(100_000)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, 100, 50_000, 399_000, 400_200):  # in the archive's first entry, in the tensor, in the directory
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(UserError, match=r"cannot write .*last\.ckpt \(File too large\)\. Is the disk full\?"):
                save(path, big)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    save(path, big)
    assert load(path).iteration == 8


def test_another_error_of_torch_is_not_reported_as_a_full_disk(checkpoint, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="CUDA error"):
        save(tmp_path / "last.ckpt", checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_cannot_be_written(checkpoint, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for write in (lambda: save(tmp_path / "file" / "last.ckpt", checkpoint),
                  lambda: save_release(tmp_path / "file" / "zoo", checkpoint)):  # fmt: skip
        with pytest.raises(UserError, match=r"cannot write .*file/"):
            write()


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    if how == "truncated":
        path.write_bytes(data[:middle])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "weights":  # in the largest tensor
        path.write_bytes(data[:middle] + bytes(b ^ 255 for b in data[middle : middle + 64]) + data[middle + 64 :])
    elif how == "pickle":  # the first entry of the archive
        start = data.index(b"data.pkl") + 100
        path.write_bytes(data[:start] + bytes(b ^ 255 for b in data[start : start + 64]) + data[start + 64 :])
    elif how == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "weights", "pickle", "other zip"])
def test_damaged_files_are_named(checkpoint, tmp_path, how):
    path = tmp_path / "last.ckpt"
    save(path, checkpoint)
    damage(path, how)
    with pytest.raises(UserError, match=rf"{path} is damaged") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_foreign_files_are_named(tmp_path, policy):
    path = tmp_path / "other.pt"
    for foreign in (policy, policy.state_dict(), [1, 2], {"state_dict": {}}):
        torch.save(foreign, path)
        with pytest.raises(UserError, match=rf"{path} is not a checkpoint of Protégé"):
            load(path)


def test_another_format_is_named_with_the_version_that_wrote_it(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    save(path, replace(checkpoint, versions={"protege-core": "9.1.0"}))
    data = torch.load(path, weights_only=True)
    for changed in (data | {"format": 4}, {k: v for k, v in data.items() if k != "robot"}, data | {"color": "red"}):
        torch.save(changed, path)
        with pytest.raises(UserError, match=rf"{path} was written in another format, by protege-core 9\.1\.0"):
            load(path)


def test_a_run_folder_loads_its_best_checkpoint(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint at .*last\.ckpt"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint at .*missing"):
        load(tmp_path / "missing")
    save_release(tmp_path, replace(checkpoint, iteration=1))
    assert load(tmp_path).iteration == 1
    save(tmp_path / "last.ckpt", replace(checkpoint, iteration=2))
    assert load(str(tmp_path)).iteration == 2
    save(tmp_path / "best.ckpt", replace(checkpoint, iteration=3))
    assert load(tmp_path).iteration == 3


def acts(path: Path, obs) -> torch.Tensor:
    return load_policy(path).policy.distribution(obs)[0]


def test_a_release_acts_like_its_checkpoint(checkpoint, policy, obs, tmp_path):
    save(tmp_path / "run" / "last.ckpt", checkpoint)
    save_release(tmp_path / "half", checkpoint)
    save_release(tmp_path / "whole", checkpoint, half=False)
    want = policy.distribution(obs)[0].detach()
    torch.testing.assert_close(acts(tmp_path / "run", obs), want, atol=1e-6, rtol=0.0)
    assert torch.equal(acts(tmp_path / "run", obs), acts(tmp_path / "whole", obs))
    got = acts(tmp_path / "half", obs)
    assert 0.0 < (got - want).abs().max() < 2e-3 < want.abs().max()

    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")}
    assert sizes["half"] < 0.7 * sizes["whole"]
    released = load(tmp_path / "half")
    assert released.training == {}
    assert all(x.dtype == checkpoint.model[name].dtype for name, x in released.model.items())
    for name, x in released.model.items():
        if "normalizer" in name:
            assert torch.equal(x, checkpoint.model[name])
    assert replace(released, model={}) == replace(checkpoint, model={}, training={})


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\x10" + bytes(40)),
        ("config.yaml", b"{"),
        ("config.yaml", b"\xff\xfe\xff"),
        ("config.yaml", b"just text"),
        ("config.yaml", None),
    ],
)
def test_a_damaged_release_is_named(checkpoint, tmp_path, file, content):
    save_release(tmp_path, checkpoint)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"{tmp_path}.* damaged") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_fifty_damaged_releases_are_refused(checkpoint, tmp_path):
    """One to sixteen bytes changed, or the end cut off, anywhere in either file."""
    save_release(tmp_path, checkpoint)
    rng = random.Random(19)
    for number in range(50):
        path = tmp_path / ("model.safetensors" if number % 2 else "config.yaml")
        whole = path.read_bytes()
        data = bytearray(whole[: rng.randrange(len(whole))] if number % 5 == 0 else whole)
        if number % 5:
            for _ in range(rng.choice((1, 2, 16))):
                data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        path.write_bytes(data)
        with pytest.raises(UserError) as error:
            load(tmp_path)
        assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
        path.write_bytes(whole)
    load(tmp_path)


def test_a_release_of_an_earlier_version_has_no_checksums_and_loads(checkpoint, tmp_path):
    save_release(tmp_path, checkpoint)
    path = tmp_path / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    assert [line.partition(":")[0] for line in lines[:3]] == ["facts_sha256", "model_sha256", "format"]
    whole = load(tmp_path)
    path.write_text("".join(lines[2:]))
    assert replace(load(tmp_path), model={}) == replace(whole, model={})


def test_a_release_of_another_format_is_named(checkpoint, tmp_path):
    save_release(tmp_path, checkpoint)
    path = tmp_path / "config.yaml"
    facts = yaml.safe_load(path.read_text()) | {"format": 4}
    del facts["facts_sha256"]
    path.write_text(sealed(facts, facts.pop("model_sha256")))
    with pytest.raises(UserError, match=r"config\.yaml was written in another format"):
        load(tmp_path)


# Loading policies: load_policy.load_policy -------------------------------------------------------------------------------


def test_a_loaded_policy_has_its_path_and_digest(checkpoint, tmp_path):
    save(tmp_path / "last.ckpt", checkpoint)
    loaded = load_policy(tmp_path, robot="toy")
    assert isinstance(loaded, LoadedPolicy)
    assert (loaded.kind, loaded.robot, loaded.path) == ("tracker", "toy", tmp_path)
    assert loaded.config == checkpoint.config
    assert loaded.obs_shapes == checkpoint.obs_shapes
    assert not loaded.policy.training
    assert not any(parameter.requires_grad for parameter in loaded.policy.parameters())


def test_another_robot_is_refused(checkpoint, tmp_path):
    save(tmp_path / "last.ckpt", checkpoint)
    with pytest.raises(UserError, match=r"drives the robot toy, not smpl\. Take --robot toy"):
        load_policy(tmp_path, robot="smpl")


def test_another_shape_is_refused(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    for config, tensor in (({"latent_dim": 32}, r"actor\."), ({"tokens": ["proprioception"]}, r"lead")):
        save(path, replace(checkpoint, config={"model": SMALL | config}))
        with pytest.raises(UserError, match=rf"{path} holds a policy of another shape \(.*{tensor}"):
            load_policy(path)
    missing = {name: x for name, x in checkpoint.model.items() if name != "log_std"}
    save(path, replace(checkpoint, model=missing))
    with pytest.raises(UserError, match=r"another shape \(log_std"):
        load_policy(path)


def test_a_config_of_another_version_is_refused(checkpoint, tmp_path):
    save(tmp_path / "last.ckpt", replace(checkpoint, config={"model": SMALL | {"num_experts": 3}}))
    with pytest.raises(UserError, match=r"unknown key model\.num_experts"):
        load_policy(tmp_path)
