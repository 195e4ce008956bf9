"""Checkpoints of every kind: the state dict comes out, nothing is executed, what is wrong is said in one sentence."""

import collections
import contextlib
import io
import json
import os
import pickle
import struct
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fastdiff.analytic import import_official
from fastdiff.files import locate, read_npz, sha256
from fastdiff.weights.checkpoints import card_arch, read_array, read_checkpoint, read_network, write_checkpoint
from fastdiff.weights.model_card import ModelCard

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "conv.bias": torch.ones(3).half(), "n": torch.tensor(7)}


def same(found: dict, wanted: dict) -> bool:
    return list(found) == list(wanted) and all(torch.equal(found[name], wanted[name]) for name in wanted)


def saved(path, value, **how) -> str:
    torch.save(value, path, **how)
    return str(path)


# The forms in which official checkpoints hold their state


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_state_dict_of_torch_save_old_and_new(tmp_path, how):
    path = saved(tmp_path / "a.pt", collections.OrderedDict(STATE), **how)
    found, digest = read_checkpoint(path)
    assert same(found, STATE) and digest == sha256(tmp_path / "a.pt")


def test_a_module_s_own_state_dict_with_its_metadata_and_shared_numbers(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = module.state_dict()
    state["tied"], state["part"] = state["0.weight"], state["0.bias"][1:3]
    for how in ({}, {"_use_new_zipfile_serialization": False}):
        assert same(read_checkpoint(saved(tmp_path / "a.pt", state, **how))[0], state)


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_tensors_come_out_as_torch_load_gives_them(tmp_path, how):
    """Types, strides, offsets, shared storages and empty ones."""
    whole = torch.arange(24.0).reshape(4, 6)
    state = {name: torch.tensor([0, 1, 2]).to(getattr(torch, name)) for name in (
        "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
        "complex128")}  # fmt: skip
    state |= {"whole": whole, "turned": whole.T, "part": whole[1:3, ::2], "last": whole[-1], "one": whole[3, 5]}
    state |= {"none": torch.zeros(0, 3), "past": whole[4:], "same": torch.ones(1).expand(5), "scalar": torch.tensor(2)}
    path = saved(tmp_path / "a.pt", state, **how)
    wanted, (found, _) = torch.load(path, weights_only=True), read_checkpoint(path)
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
        if name != "past":
            assert (found[name].stride(), found[name].storage_offset()) == (tensor.stride(), tensor.storage_offset())
    found["whole"][1, 2] = -1
    assert found["turned"][2, 1] == found["part"][0, 1] == -1  # still the same numbers


@pytest.mark.parametrize("new", [False, True])
def test_torch_load_is_called_once_and_only_for_weights(tmp_path, monkeypatch, new):
    calls, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **how: calls.append(how["weights_only"]) or load(*args, **how))
    assert same(read_checkpoint(saved(tmp_path / "a.pt", STATE, _use_new_zipfile_serialization=new))[0], STATE)
    assert calls == [True]
    for path in (evil_file(tmp_path / "b.pt", new), str(Path(__file__))):
        with pytest.raises(ValueError, match="is not a readable checkpoint"):
            read_checkpoint(path)
    assert calls == [True]


def evil_file(path, new: bool) -> str:
    return saved(path, {"a": torch.ones(1), "b": Evil(print, "ran")}, _use_new_zipfile_serialization=new)


def test_parameters_come_out_as_they_went_in(tmp_path):
    found, _ = read_checkpoint(saved(tmp_path / "a.pt", {"a": torch.nn.Parameter(torch.ones(2))}))
    assert torch.equal(found["a"], torch.ones(2))


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    found, _ = read_checkpoint(str(tmp_path / "a.safetensors"))
    assert same(dict(sorted(found.items())), dict(sorted(STATE.items())))


def test_what_is_written_is_read_again(tmp_path):
    network = torch.nn.Linear(3, 2)
    digest = write_checkpoint(tmp_path / "a.safetensors", network, {"name": "mine"})
    found, read = read_checkpoint(str(tmp_path / "a.safetensors"), digest)
    assert torch.equal(found["weight"], network.weight) and read == digest
    assert json.loads((tmp_path / "a.json").read_text())["parameters"] == 8


@pytest.mark.parametrize("key", ["a class", "a name"])
def test_a_lightning_checkpoint_of_latent_diffusion_with_its_callback_s_class_as_a_key(tmp_path, key, monkeypatch):
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__, "__qualname__": "ModelCheckpoint"})
    module.ModelCheckpoint = callback
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(__import__("sys").modules, name, module)
    names = ["model.diffusion_model.out", "first_stage_model.x", "cond_stage_model.embedding.weight", "model_ema.x"]
    state = {name: torch.full((2,), float(i)) for i, name in enumerate(names)}
    checkpoint = {
        "epoch": 3, "global_step": 7, "pytorch-lightning_version": "1.4.2", "state_dict": state, "lr_schedulers": [],
        "callbacks": {callback if key == "a class" else "ModelCheckpoint": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]}],
    }  # fmt: skip
    path = saved(tmp_path / "model.ckpt", checkpoint)
    monkeypatch.undo()
    assert same(read_checkpoint(path)[0], state)
    kept, _ = read_checkpoint(path, keep=("model.diffusion_model.", "cond_stage_model."))
    assert list(kept) == [names[0], names[2]]
    with pytest.raises(ValueError, match="model.ckpt has no tensor named unet.*; it has model.diffusion_model.out"):
        read_checkpoint(path, keep=("unet.",))


def test_ermongroup_s_list_gives_the_moving_average_or_without_one_the_model(tmp_path):
    average = {name: tensor + 1 for name, tensor in STATE.items()}
    optimizer = {
        "state": {0: {"step": 5, "exp_avg": torch.zeros(2)}},
        "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999)}],
    }
    prefixed = {f"module.{name}": tensor for name, tensor in STATE.items()}  # DataParallel's
    assert same(read_checkpoint(saved(tmp_path / "a.pth", [prefixed, optimizer, 3, 1000, average]))[0], average)
    assert same(read_checkpoint(saved(tmp_path / "b.pth", [prefixed, optimizer, 3, 1000]))[0], STATE)
    assert same(read_checkpoint(saved(tmp_path / "c.pth", {"state_dict": prefixed}))[0], STATE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"model": STATE, "ema": STATE}, "it is no state dict of tensors .it holds: model, ema."),
        ([STATE], "it holds: list"),
        ({"a": 1}, "it holds: a"),
        ({}, "it is no state dict of tensors"),
        ({1: torch.ones(1)}, "it holds: 1"),
        (torch.ones(2), "it holds: Tensor"),
    ],
)
def test_what_is_no_state_dict_is_not_guessed_at(tmp_path, value, said):
    with pytest.raises(ValueError, match=said):
        read_checkpoint(saved(tmp_path / "a.pt", value))


# Nothing is executed


class Evil:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Setting:
    """Pickles to an allowed class with a state that is not: BUILD."""

    def __init__(self, evil):
        self.evil = evil

    def __reduce__(self):
        return collections.OrderedDict, (), self.evil


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "hide",
    [
        lambda evil: evil,
        lambda evil: {"a": torch.ones(2), "b": evil},
        lambda evil: {"state_dict": {"a": torch.ones(2)}, "callbacks": [evil]},
        lambda evil: [STATE, evil, 0, 0],
        lambda evil: {evil: 1},
        lambda evil: Setting(evil),
        lambda evil: Evil(torch._utils._rebuild_tensor_v2, evil, 0, (1,), (1,), False, collections.OrderedDict()),
    ],
)
def test_a_call_in_a_checkpoint_does_not_run_and_is_named(tmp_path, old, hide):
    evil = hide(Evil(exec, f"open({str(tmp_path / 'ran')!r}, 'w')"))
    path = saved(tmp_path / "a.pt", evil, _use_new_zipfile_serialization=not old)
    with pytest.raises(
        ValueError, match="a.pt is not a readable checkpoint: it asks for '__builtin__.exec', which weights"
    ) as e:
        read_checkpoint(path)
    assert "\n" not in str(e.value) and not (tmp_path / "ran").exists()
    with contextlib.suppress(AttributeError):  # of what the call returned
        torch.load(path, weights_only=False)  # the attack is live
    assert (tmp_path / "ran").exists()


def test_a_call_in_the_later_pickles_of_an_old_file_does_not_run(tmp_path):
    whole = io.BytesIO()
    torch.save(STATE, whole, _use_new_zipfile_serialization=False)
    evil = pickle.dumps(Evil(exec, f"open({str(tmp_path / 'ran')!r}, 'w')"), 2)
    starts = [i for i in range(len(whole.getvalue())) if whole.getvalue()[i : i + 2] == b"\x80\x02"]
    assert len(starts) == 5  # magic number, protocol, machine, value, keys
    for start in starts:
        (tmp_path / "a.pt").write_bytes(whole.getvalue()[:start] + evil)
        with pytest.raises(ValueError, match="asks for '__builtin__.exec'"):
            read_checkpoint(str(tmp_path / "a.pt"))
    assert not (tmp_path / "ran").exists()


def test_pickled_arrays_of_an_npz_do_not_run(tmp_path):
    evil = Evil(exec, f"open({str(tmp_path / 'ran')!r}, 'w')")
    np.savez(tmp_path / "a.npz", images=np.array([evil, 1], dtype=object))
    with pytest.raises(ValueError, match="a.npz is not a readable npz"):
        read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


# Broken, hostile and mistaken files


def member(ending: str, made: bytes):
    """A change for `repacked`: other content for the member whose name ends so."""
    return lambda name, content: (made if name.endswith(ending) else content, zipfile.ZIP_STORED)


def repacked(path, change) -> str:
    """The zip of torch.save with change(name, content) -> content, compression of every member."""
    whole = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content, compression = change(name, old.read(name))
            new.writestr(name, content, compression)
    return str(path)


def test_members_that_unpack_to_a_thousand_times_their_size_are_refused(tmp_path):
    saved(tmp_path / "a.pt", {"a": torch.zeros(1 << 22)})
    path = repacked(tmp_path / "a.pt", lambda name, content: (content, zipfile.ZIP_DEFLATED))
    assert (tmp_path / "a.pt").stat().st_size < 100_000
    with pytest.raises(ValueError, match="it has compressed members, which torch.save never writes"):
        read_checkpoint(path)


@pytest.mark.parametrize("old", [False, True])
def test_tensors_that_claim_more_than_the_file_has_are_refused(tmp_path, old):
    saved(tmp_path / "a.pt", {"a": torch.arange(16.0)}, _use_new_zipfile_serialization=not old)

    def claim(content):
        return content.replace(b"K\x10", b"J\x00\x00\x00\x10")

    if old:
        (tmp_path / "a.pt").write_bytes(claim((tmp_path / "a.pt").read_bytes()))
    else:
        repacked(tmp_path / "a.pt", lambda name, content: (claim(content), zipfile.ZIP_STORED))
    with pytest.raises(ValueError, match="tensors that claim more bytes than it has"):
        read_checkpoint(str(tmp_path / "a.pt"))


@pytest.mark.parametrize("key", [b")" + b"\x85" * 1_000_000, b")" + b"q\x00h\x00\x86" * 60])
def test_keys_that_would_crash_or_hang_torch_are_refused(tmp_path, key):
    saved(tmp_path / "a.pt", STATE)
    hostile = b"\x80\x02}" + key + b"K\x01s."
    with pytest.raises(ValueError, match="no plain value"):
        read_checkpoint(repacked(tmp_path / "a.pt", member("data.pkl", hostile)))


@pytest.mark.parametrize("name", ["{}/DATA.PKL", "{}/data.pkl", "{}/Data/0"])
def test_what_torch_would_find_under_the_same_name_is_refused(tmp_path, name):
    """torch looks members up whatever the case of their names: it would load what nobody has looked at."""
    saved(tmp_path / "a.pt", STATE)
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        with pytest.warns(UserWarning) if name == "{}/data.pkl" else contextlib.nullcontext():
            archive.writestr(name.format(root), b"\x80\x02}.")
    with pytest.raises(ValueError, match="it has two members of one name"):
        read_checkpoint(str(tmp_path / "a.pt"))


def test_a_second_directory_that_torch_would_follow_is_refused(tmp_path):
    """Two archives in a row, and an end that gives the second's size and the first's place."""
    evil, good = (saved(tmp_path / f"{name}.pt", {name: torch.ones(2)}) for name in ("evil", "good"))
    zips = []
    for path in (evil, good):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "a.zip", "w") as new:
            for name in old.namelist():
                new.writestr(name.replace("evil", "good"), old.read(name))
        zips.append((tmp_path / "a.zip").read_bytes())
    ends = [content.rfind(b"PK\5\6") for content in zips]
    (tmp_path / "a.pt").write_bytes(zips[0][: ends[0]] + zips[1][: ends[1]] + zips[0][ends[0] :])
    assert list(torch.load(tmp_path / "a.pt", weights_only=True)) == ["evil"]
    assert b"good" in zipfile.ZipFile(tmp_path / "a.pt").read("good/data.pkl")
    with pytest.raises(ValueError, match="it has something else before its members"):
        read_checkpoint(str(tmp_path / "a.pt"))


def test_another_machine_s_order_of_bytes_is_said(tmp_path):
    saved(tmp_path / "a.pt", STATE)
    with pytest.raises(ValueError, match="another byte order"):
        read_checkpoint(repacked(tmp_path / "a.pt", member("byteorder", b"big")))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((0, (5,), (1,)), "larger than its storage"),
        ((2, (3,), (1,)), "larger than its storage"),
        ((-1, (2,), (1,)), "of an invalid shape"),
        ((0, (2,), (-1,)), "of an invalid shape"),
        ((0, (2, 2), (1,)), "of an invalid shape"),
        ((0, (1,) * 9, (1,) * 9), "of an invalid shape"),
        ((0, (2**39, 2**39), (0, 0)), "larger than its storage"),
        ((0, [2], [1]), "of an invalid shape"),
        ((0, 2, 1), "of an invalid shape"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_tensor_of_torch_save_stays_within_its_numbers(tmp_path, args, said, old):
    class Odd:
        def __reduce__(self):
            storage = torch.zeros(4)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, *args, False, collections.OrderedDict())

    with pytest.raises(ValueError, match=said):
        read_checkpoint(saved(tmp_path / "a.pt", {"a": Odd()}, _use_new_zipfile_serialization=not old))


@pytest.mark.parametrize("value", [torch.arange(3), torch.arange(3.0), np.arange(3), np.arange(3.0, dtype=">f8")])
def test_one_tensor_or_array_is_read_as_float64(tmp_path, value):
    found = read_array(tmp_path / saved(tmp_path / "a.pt", value))
    assert found.dtype == np.float64 and found.tolist() == [0, 1, 2]


def test_an_array_s_bytes_are_those_of_its_shape(tmp_path):
    turned = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(read_array(tmp_path / saved(tmp_path / "a.pt", turned)), turned)
    many = torch.zeros(1).expand(2**30)  # eight gigabytes as float64
    for value in ({"a": 1}, [1.0], many, np.array(["text"]), np.array([{}])):
        with pytest.raises(ValueError, match="a.pt is not a readable ms_eps file: .*; it was not loaded"):
            read_array(tmp_path / saved(tmp_path / "a.pt", value), "ms_eps file")


@pytest.mark.parametrize("key", [b")" + b"\x85" * 1_000_000, b")" + b"q\x00h\x00\x86" * 60])
def test_an_ms_eps_file_with_keys_that_crash_or_hang_torch_is_refused(tmp_path, key):
    saved(tmp_path / "a.pt", torch.ones(3))
    hostile = b"\x80\x02}" + key + b"K\x01s."
    with pytest.raises(ValueError, match="no plain value"):
        import_official(repacked(tmp_path / "a.pt", member("data.pkl", hostile)), np.ones(2))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pt", b"", "it is empty"),
        ("a.pkl", b"", "it is empty"),
        ("a.safetensors", b"", "it is empty"),
        ("a.pt", b"\n<!DOCTYPE html><title>Sign in</title>", "it is a web page"),
        ("a.pkl", b"<html><body>404</body>", "it is a web page"),
        ("a.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is not what torch.save writes"),
        ("a.pt", b"PK\x03\x04" + bytes(100), "not a zip file"),
        ("a.pt", bytes(512) + b"ustar", "it is not what torch.save writes"),
        ("a.pt", b"\x80\x02K\x01.", "it is not what torch.save writes"),
        ("a.safetensors", struct.pack("<Q", 2**63) + b"{}", "eader"),
        ("a.safetensors", struct.pack("<Q", 2**30) + b"{}", "eader"),
        ("a.safetensors", struct.pack("<Q", 2) + b"[]", "eader"),
        ("a.safetensors", struct.pack("<Q", 10**4) + b"{" * 10**4, "eader"),
    ],
)
def test_files_that_are_none_are_refused_in_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{name} is not a readable checkpoint: .*{said}.*; it was not loaded"
    ) as raised:
        read_checkpoint(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_a_folder_and_a_missing_file_are_said_to_be_that(tmp_path):
    with pytest.raises(ValueError, match="it is a folder"):
        read_checkpoint(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="gone.pt does not exist"):
        read_checkpoint(str(tmp_path / "gone.pt"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_device_or_a_pipe_which_would_never_end_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    for path in ("/dev/zero", str(tmp_path / "a.pt")):
        for act in (read_checkpoint, locate):
            with pytest.raises(ValueError, match=f"{path} is neither a file nor a folder"):
                act(path)


@pytest.mark.parametrize("kind", ["new.pt", "old.pt", "a.safetensors"])
def test_a_cut_or_flipped_file_gives_tensors_or_one_sentence(tmp_path, kind):
    path = tmp_path / kind
    if kind == "a.safetensors":
        save_file(STATE, path)
    else:
        saved(path, STATE, _use_new_zipfile_serialization=kind == "new.pt")
    whole, (_, digest) = path.read_bytes(), read_checkpoint(str(path))
    broken = [whole[:length] for length in range(0, len(whole), max(1, len(whole) // 100))]
    for at in np.random.default_rng(0).permutation(len(whole))[:300]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(at) % 8
        broken.append(bytes(flipped))
    refused = 0
    for content in broken:
        path.write_bytes(content)
        try:
            found, _ = read_checkpoint(str(path))
            assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 600
        with pytest.raises(ValueError, match="has sha256"):
            read_checkpoint(str(path), digest)
    assert refused >= 100


# Cards


def card(path, **changed) -> ModelCard:
    return ModelCard(
        **{"name": "mine", "family": "native", "arch": {}, "shape": (1, 8, 8), "weights": str(path)} | changed
    )


def test_a_card_keeps_the_tensors_it_names_and_its_key_knows_of_it_only_then(tmp_path):
    path = saved(tmp_path / "a.pt", STATE)
    arch, state = read_network(card(path, arch={"size": 8}, state_keys=("conv.",)))
    assert arch == {"size": 8} and list(state) == ["conv.weight", "conv.bias"]
    assert "state_keys" not in card(path).identity() and card(path, state_keys=("a.",)).identity()["state_keys"] == [
        "a."
    ]
    assert card(path, expected={"fid": "2"}).identity() == card(path).identity()


def test_a_card_with_another_digest_than_its_weights_is_refused_before_anything_is_loaded(tmp_path):
    path = saved(tmp_path / "a.pt", STATE)
    assert card(path).resolved().sha256 == sha256(tmp_path / "a.pt")
    for act in (ModelCard.resolved, read_network):
        with pytest.raises(ValueError, match=f"but the card of 'mine' says {'0' * 64}"):
            act(card(path, sha256="0" * 64))


def test_of_every_other_file_than_edm_s_the_card_s_arch_is_what_it_says(tmp_path):
    path = saved(tmp_path / "a.pt", STATE)
    assert card_arch(path, {"size": 8}, "mine") == {"size": 8}
    with pytest.raises(ValueError, match="b.pkl is not a readable checkpoint"):
        card_arch(saved(tmp_path / "b.pkl", STATE), {}, "mine")
