"""EDM's pickles are read as data: the true network comes out, nothing in the file runs, and what is wrong is said."""

import collections
import io
import pickle
import struct
import sys
import time
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fastdiff.unets import build
from fastdiff.weights.checkpoints import card_arch, read_checkpoint, read_network
from fastdiff.weights.edm_pickles import edm_arch, read_edm
from fastdiff.weights.model_card import ModelCard


@pytest.fixture
def official(monkeypatch, tmp_path):
    """Stand-ins of torch_utils.persistence and dnnlib.util: they pickle as the official ones do.

    Every class's source code would leave a file `ran`, if it were executed.
    """
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass EDMPrecond: pass\n"

    def _reconstruct_persistent_obj(meta):
        exec(meta["module_src"], {})

    class EasyDict(dict):
        pass

    def persistent_class(cls):
        class Decorated(cls):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self._init_args, self._init_kwargs = args, kwargs

            def __reduce__(self):
                state = super().__reduce__()[2]
                meta = {"type": "class", "version": 6, "module_src": source, "class_name": cls.__name__, "state": state}
                return _reconstruct_persistent_obj, (meta,), None

        return Decorated

    for thing, module in ((_reconstruct_persistent_obj, persistence), (EasyDict, util)):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
    persistence.persistent_class = persistent_class
    for module in (persistence, util):
        monkeypatch.setitem(sys.modules, module.__name__.split(".")[0], types.ModuleType(module.__name__.split(".")[0]))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return persistence, EasyDict


WORDS = {
    "img_resolution": 8, "img_channels": 3, "label_dim": 10, "model_type": "SongUNet", "channel_mult": [2, 2],
    "resample_filter": [1, 3, 3, 1], "dropout": 0.13, "sigma_max": float("inf"), "use_fp16": False,
}  # fmt: skip


@pytest.fixture
def network(official):
    """A little network with everything that is in an official one: np.float64 attributes, None for a bias, buffers of
    both kinds, ModuleDict, several dtypes."""
    persistent_class = official[0].persistent_class
    torch.manual_seed(0)

    @persistent_class
    class Conv2d(nn.Module):
        def __init__(self, cin, cout, kernel, up=False, init_weight=1.0):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(cout, cin, kernel, kernel) * init_weight)
            self.bias = None
            self.register_buffer("resample_filter", torch.ones(1, 1, 4, 4) / 16 if up else None)
            self.register_buffer("scratch", torch.zeros(2), persistent=False)

    @persistent_class
    class UNetBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.skip_scale, self.size = np.sqrt(0.5), torch.Size([1, 2])
            self.conv0 = Conv2d(4, 4, 3, up=True, init_weight=np.sqrt(1 / 3))
            self.skip = None

    @persistent_class
    class SongUNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.ModuleDict({"8x8_conv": Conv2d(3, 4, 3), "8x8_block0": UNetBlock()})
            self.register_buffer("u", torch.linspace(0, 1, 5, dtype=torch.float64))
            self.small = nn.Parameter(torch.randn(6).half(), requires_grad=False)
            self.view = nn.Parameter(torch.arange(12.0).reshape(3, 4)[1:, ::2])
            self.number = nn.Parameter(torch.tensor(3.0))

    @persistent_class
    class EDMPrecond(nn.Module):
        def __init__(self, **words):
            super().__init__()
            self.model = SongUNet()

    return EDMPrecond(**WORDS).eval().requires_grad_(False)


@pytest.fixture
def snapshot(official, network):
    """snapshot(**changed) -> the bytes of a file as the official training loop writes it."""
    persistence, EasyDict = official

    @persistence.persistent_class
    class EDMLoss:
        def __init__(self, P_mean=-1.2):
            self.P_mean = P_mean

    def make(protocol=4, **changed):
        data = {"ema": network, "loss_fn": EDMLoss(), "augment_pipe": None, "dataset_kwargs": EasyDict(path="x.zip")}
        return pickle.dumps(data | changed, protocol)

    return make


def test_arguments_and_state_are_the_official_ones_whatever_the_protocol(snapshot, network, tmp_path):
    for protocol in (3, 4, 5):
        arch, state = read_edm(io.BytesIO(snapshot(protocol)))
        assert arch == {"class_name": "EDMPrecond", **WORDS} == edm_arch(io.BytesIO(snapshot(protocol)))
        wanted = network.state_dict()
        assert list(state) == list(wanted) and "model.enc.8x8_block0.conv0.resample_filter" in state
        for name, tensor in wanted.items():
            assert state[name].dtype == tensor.dtype and torch.equal(state[name], tensor), name
            assert type(state[name]) is torch.Tensor and not state[name].requires_grad
    assert not (tmp_path / "ran").exists()


def test_python_s_own_unpickler_would_run_the_source(snapshot, tmp_path):
    pickle.loads(snapshot())
    assert (tmp_path / "ran").exists()


def test_numpy_numbers_among_the_arguments_become_numbers(snapshot, network):
    network._init_kwargs["sigma_data"] = np.float64(0.5)
    network._init_kwargs["M"] = np.int64(1000)
    network._init_kwargs["pair"] = (1, np.float32(2))
    arch, _ = read_edm(io.BytesIO(snapshot()))
    assert (arch["sigma_data"], arch["M"], arch["pair"]) == (0.5, 1000, [1, 2.0]) and type(arch["M"]) is int


def test_the_arguments_are_read_without_torch(snapshot, tmp_path):
    import subprocess

    (tmp_path / "net.pkl").write_bytes(snapshot())
    code = (
        "import sys; from fastdiff.weights.checkpoints import card_arch\n"
        "assert card_arch(sys.argv[1], {}, 'mine')['label_dim'] == 10 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "net.pkl")], check=True)


def test_a_card_s_arch_and_the_file_s_must_not_contradict_one_another(snapshot, tmp_path):
    (tmp_path / "net.pkl").write_bytes(snapshot())
    card = ModelCard("mine", "edm", {}, (3, 8, 8), str(tmp_path / "net.pkl"), parameterisation="edm")
    assert read_network(card)[0] == {"class_name": "EDMPrecond", **WORDS}  # no arch: the file's
    same = {"channel_mult": (2, 2), "img_resolution": 8.0, "label_dim": None, "num_blocks": 1}
    assert read_network(replace(card, arch=same))[0] == {"class_name": "EDMPrecond", **WORDS, "num_blocks": 1}
    for word, value in {"class_name": "VEPrecond", "label_dim": 0, "channel_mult": [2, 2, 2]}.items():
        with pytest.raises(ValueError, match=f"arch of model 'mine' says {word} .*, but .*net.pkl was made with"):
            read_network(replace(card, arch={"model_type": "SongUNet", word: value}))


@pytest.mark.parametrize(
    "said",
    [
        {"class_name": "training.networks.EDMPrecond"},
        {"class_name": "SongUNet", "preconditioning": "edm"},
        {"class_name": "training.networks.SongUNet"},
        {"precond": "EDMPrecond", "model_type": "songunet"},
        {"preconditioning": "training.networks.EDMPrecond", "class_name": None},
    ],
)
def test_names_of_a_card_are_compared_as_names(snapshot, tmp_path, said):
    (tmp_path / "net.pkl").write_bytes(snapshot())
    found = card_arch(str(tmp_path / "net.pkl"), said, "mine")
    assert found == {"class_name": "EDMPrecond", **WORDS}  # one spelling, whatever the card's: keys are made of it
    card = ModelCard("mine", "edm", said, (3, 8, 8), str(tmp_path / "net.pkl"), parameterisation="edm")
    assert read_network(card)[0] == found


@pytest.mark.parametrize(
    ("said", "truth"),
    [
        ({"class_name": "VPPrecond"}, "EDMPrecond"),
        ({"class_name": "SongUNet", "preconditioning": "vp"}, "EDMPrecond"),
        ({"precond": "ve"}, "EDMPrecond"),
        ({"class_name": "DhariwalUNet"}, "SongUNet"),
        ({"model_type": "DhariwalUNet"}, "SongUNet"),
        ({"label_dim": 0}, "10"),
    ],
)
def test_another_name_than_the_file_s_is_a_contradiction(snapshot, tmp_path, said, truth):
    (tmp_path / "net.pkl").write_bytes(snapshot())
    word = list(said)[-1]
    with pytest.raises(ValueError, match=f"arch of model 'mine' says {word} .* was made with '?{truth}'?; correct"):
        card_arch(str(tmp_path / "net.pkl"), said, "mine")


def test_a_file_without_model_type_has_the_wrapper_s_official_default(snapshot, network, tmp_path):
    del network._init_kwargs["model_type"]
    (tmp_path / "net.pkl").write_bytes(snapshot())
    assert "model_type" not in card_arch(tmp_path / "net.pkl", {"class_name": "DhariwalUNet"}, "mine")
    with pytest.raises(ValueError, match="was made with 'DhariwalUNet'"):
        card_arch(tmp_path / "net.pkl", {"class_name": "SongUNet"}, "mine")


def test_a_network_that_went_through_such_a_file_computes_the_same(official, snapshot, tmp_path):
    arch = {
        "class_name": "EDMPrecond", "model_type": "SongUNet", "img_resolution": 8, "img_channels": 3, "label_dim": 4,
        "augment_dim": 9, "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
        "encoder_type": "residual", "embedding_type": "fourier", "channel_mult_noise": 2, "resample_filter": [1, 3],
    }  # fmt: skip
    network = build("edm", arch)

    class Saved:
        """A module as the official persistence pickles it."""

        def __init__(self, module, words=None):
            state = {
                name: value for name, value in vars(module).items() if name in ("_parameters", "_buffers", "training")
            }
            self.meta = {"type": "class", "version": 6, "module_src": "raise", "class_name": "Layer", "state": state}
            state["_modules"] = collections.OrderedDict((name, Saved(each)) for name, each in module._modules.items())
            state["_non_persistent_buffers_set"] = module._non_persistent_buffers_set
            if words:
                self.meta["class_name"], state["_init_kwargs"] = words["class_name"], {**words, "dropout": 0.13}
                state["_init_args"], _ = (), state["_init_kwargs"].pop("class_name")

        def __reduce__(self):
            return official[0]._reconstruct_persistent_obj, (self.meta,)

    (tmp_path / "net.pkl").write_bytes(snapshot(ema=Saved(network, arch)))
    card = ModelCard("mine", "edm", arch, (3, 8, 8), str(tmp_path / "net.pkl"), parameterisation="edm", classes=4)
    again = build("edm", *read_network(card))
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.5, 3.0])
    labels = torch.tensor([1, 3])
    assert torch.equal(again(x, sigma, labels), network(x, sigma, labels))


# What must not run, and what would tell that it did


class Evil:
    """Pickles to a call of `function`, which leaves the file `ran`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def attacks(ran) -> dict:
    """Name of the refused global -> an object whose unpickling would leave the file."""
    import os
    import subprocess

    opening = f"open({str(ran)!r}, 'w')"
    return {
        f"{os.system.__module__}.system": Evil(os.system, f"touch {ran}"),
        "builtins.eval": Evil(eval, opening),
        "builtins.exec": Evil(exec, opening),
        "io.open": Evil(open, str(ran), "w"),
        "subprocess.check_call": Evil(subprocess.check_call, ["touch", str(ran)]),
        "builtins.getattr": Evil(getattr, Evil(open, str(ran), "w"), "name"),
    }


def places(network, evil, official) -> dict:
    """Where in a snapshot it may hide."""
    nested = io.BytesIO()
    torch.save([evil], nested, _use_new_zipfile_serialization=False)
    storage = Evil(torch.storage._load_from_bytes, nested.getvalue())
    hooks = collections.OrderedDict(a=evil)
    tensor = torch._utils._rebuild_tensor_v2
    return {
        "beside the network": {"loss_fn": evil},
        "instead of it": {"ema": evil},
        "as a key": {"augment_pipe": {evil: 1}},
        "in a state": {"loss_fn": official[1](a=[(1, {"b": evil})])},
        "in a reduce of an allowed function": {"loss_fn": Evil(tensor, evil, 0, (1,), (1,), False, hooks)},
        "in the arguments of an allowed class": {"loss_fn": Evil(collections.OrderedDict, [("a", evil)])},
        "in bytes that no tensor needs": {"loss_fn": storage},
        "in the bytes of a tensor": {"ema": Evil(tensor, storage, 0, (1,), (1,), False, hooks)},
    }


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("attack", range(6))
def test_no_call_in_the_file_runs_and_the_first_that_is_not_allowed_is_named(
    official, network, snapshot, tmp_path, attack, place
):
    name, evil = list(attacks(tmp_path / "ran").items())[attack]
    where, changed = list(places(network, evil, official).items())[place]
    if where == "in the bytes of a tensor":
        network.model._parameters["small"] = changed.pop("ema")
    (tmp_path / "net.pkl").write_bytes(snapshot(**changed))
    if where == "in bytes that no tensor needs":
        read_checkpoint(str(tmp_path / "net.pkl"))  # they are not even looked at
    else:
        said = "io.open" if name == "builtins.getattr" else name  # its argument comes first
        with pytest.raises(ValueError, match=r"net.pkl is not a readable checkpoint: it asks for ") as raised:
            read_checkpoint(str(tmp_path / "net.pkl"))
        assert f"'{said}'" in str(raised.value) or "'builtins.getattr'" in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_the_attacks_are_live(tmp_path):
    for name, evil in attacks(tmp_path / "ran").items():
        pickle.loads(pickle.dumps(evil))
        (tmp_path / "ran").unlink()
        assert name


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"cposix\nsystem\n" + text("touch {}") + b"\x85R.", "'posix.system'"),
        (b"(" + text("touch {}") + b"iposix\nsystem\n.", "INST"),
        (b"(icollections\nOrderedDict\n.", "INST"),
        (b"(cposix\nsystem\n" + text("touch {}") + b"o.", "'posix.system'"),
        (b"(ccollections\nOrderedDict\no.", "OBJ"),
        (text("builtins") + text("eval") + b"\x93.", "'builtins.eval'"),
        (text("os") + text("path.sys.modules") + b"\x93.", "'os.path.sys.modules'"),
        (text("torch.storage") + text("_load_from_bytes.__globals__") + b"\x93.", "_load_from_bytes.__globals__"),
        (text("collections") + text("OrderedDict.__subclasses__") + b"\x93.", "OrderedDict.__subclasses__"),
        (b"ccopyreg\n_reconstructor\n.", "'copyreg._reconstructor'"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Pid\n.", "PERSID"),
        (b"K\x01Q.", "points outside itself"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "BYTEARRAY8"),
        (b"I99999999999999999999\n.", "INT"),
        (b"\x8b\xff\xff\xff\x7f.", "LONG4"),
        (b"ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
        (b"ccollections\nOrderedDict\n)R(" + text("__class__") + b"Nu}b.", "no network 'ema'"),
        (b"ccollections\nOrderedDict\n)RNb.", "damaged"),  # BUILD with a state that is none
        (b"ctorch\nSize\n)R" + b"}" + text("__setstate__") + b"cbuiltins\neval\ns" + b"b.", "'builtins.eval'"),
        (b"ctorch\nSize\n)R}bNb.", "damaged"),  # BUILD twice
        (b"ctorch\nSize\n}b.", "damaged"),  # BUILD on a class
        (b"ctorch\nSize\nK\x01R.", "damaged"),  # REDUCE with what is no tuple
        (b"K\x01)R.", "damaged"),  # REDUCE of what is no function
        (b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}\x85R.", "of an unknown kind"),
        (b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n)R.", "as weights never do"),
        (b"}K\x01K\x02s.", "it holds: 1"),
        (b"N.", "it holds: NoneType"),
        (b"N.N.", "goes on after its end"),
        (b"NN.", "it holds: NoneType"),
        (b"(N.", "it holds: NoneType"),
        (b"0.", "damaged"),
        (b".", "damaged"),
        (b"h\x05.", "damaged"),  # never put
        (b"(K\x01d.", "DICT"),
        (b"]}a", "ends too early"),
        (b"c" + b"a" * 2000, f"asks for '{'a' * 199}"),
        (b"X\xff\xff\xff\xffa", "ends too early"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa", "damaged"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa", "ends too early"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "frame size"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "NoneType"),  # a frame longer than the file
        (b"\x8c\x01\xff.", "damaged"),
        (b"\xff", "damaged"),
    ],
)  # fmt: skip
def test_instructions_by_hand_are_refused_one_by_one(tmp_path, program, said):
    (tmp_path / "net.pkl").write_bytes(b"\x80\x04" + program.replace(b"{}", str(tmp_path / "ran").encode()))
    if b"touch {}" in program:  # its length has changed
        fixed = f"touch {tmp_path / 'ran'}"
        (tmp_path / "net.pkl").write_bytes(b"\x80\x04" + program.replace(text("touch {}"), text(fixed)))
    with pytest.raises(ValueError, match="net.pkl is not a readable checkpoint: .*; it was not loaded") as raised:
        read_checkpoint(str(tmp_path / "net.pkl"))
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


# Files that crash the C version of Python's unpickler, make it hang or ask for all memory (seen)

BOMBS = {
    "a key nested a million deep": b"})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "a key of 60 shared halves": b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",
    "a set member of them": b"\x8f()" + b"q\x00h\x00\x86" * 60 + b"\x90.",
    "lists nested a million deep": b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "objects in the states of 300,000 others": b"ctorch\nSize\nq\x00)R" + b"h\x00)R" * 300_000 + b"b" * 300_000 + b".",
    "a memo of 2**32": b"Nr\xff\xff\xff\xff.",
    "three million instructions": b"N0" * 1_500_000 + b"N.",
    "keys that all have the hash 0": b"}("
    + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 200_000))
    + b"u.",
    "keys that are fractions": b"}G" + struct.pack(">d", 0.5) + b"Ns.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_work_and_memory_are_bounded(bomb):
    begun = time.monotonic()
    with pytest.raises(ValueError):
        read_edm(io.BytesIO(b"\x80\x04" + BOMBS[bomb]))
    assert time.monotonic() - begun < 20


def test_the_same_numbers_cannot_become_many_tensors(snapshot, network):
    shared = torch.zeros(100_000)
    for i in range(50):  # pickle memoises the tensor itself, so that the file stays small
        network.model._parameters[f"copy{i}"] = shared
    with pytest.raises(ValueError, match="uses one storage for too many tensors"):
        read_edm(io.BytesIO(snapshot()))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (((10**6,), (0,)), "larger than its storage"),  # one number expanded: no bytes here, gigabytes when copied
        (((5,), (1,)), "larger than its storage"),
        (((2, 2), (3, 1)), "larger than its storage"),
        (((-1,), (1,)), "of an invalid shape"),
        (((2,), (1, 1)), "of an invalid shape"),
        (((2**50,), (1,)), "of an invalid shape"),
        ((2, 1), "of an invalid shape"),
        (((True,), (1,)), "of an invalid shape"),
    ],
)
def test_a_tensor_stays_within_its_numbers(snapshot, network, shape, said):
    numbers = torch.zeros(4)

    class Odd:
        def __reduce__(self):
            build, args, *_ = numbers.__reduce_ex__(4)
            return build, (args[0], 0, *shape, *args[4:])

    network.model._parameters["small"] = Odd()
    with pytest.raises(ValueError, match=said):
        read_edm(io.BytesIO(snapshot()))


def test_a_shape_of_very_many_dimensions_is_none(snapshot, network):
    class Odd:
        def __reduce__(self):
            build, args, *_ = torch.zeros(4).__reduce_ex__(4)
            return build, (args[0], 0, (2**40 - 1,) * 100_000, (1,) * 100_000, *args[4:])

    network.model._parameters["small"] = Odd()
    begun = time.monotonic()
    with pytest.raises(ValueError, match="of an invalid shape"):
        read_edm(io.BytesIO(snapshot()))
    assert time.monotonic() - begun < 5


def test_long_names_and_members_shared_by_many_modules_are_refused(snapshot, network):
    class Empty:
        """A module whose state is the same object in all."""

        def __init__(self, state):
            self.state = state

        def __reduce__(self):
            return nn.ModuleList, (), self.state

    nothing = dict.fromkeys(f"p{i}" for i in range(2000))
    state = {"_parameters": nothing, "_buffers": {}, "_modules": {}}
    modules = network.model._modules
    begun = time.monotonic()
    network.model._modules = {**modules, **{f"m{i}": Empty(state) for i in range(2000)}}
    with pytest.raises(ValueError, match="more parameters and modules than any network"):
        read_edm(io.BytesIO(snapshot()))
    assert time.monotonic() - begun < 10
    for kind in ("_modules", "_parameters"):
        network.model._modules = modules | {"n" * 201: None} if kind == "_modules" else modules
        network.model._parameters |= {"n" * 201: None} if kind == "_parameters" else {}
        with pytest.raises(ValueError, match="broken module 'model.'"):
            read_edm(io.BytesIO(snapshot()))


def test_modules_that_contain_one_another_are_refused(snapshot, network):
    network.model._modules["again"] = network.model._modules["enc"]
    with pytest.raises(ValueError, match="twice, or too deep"):
        read_edm(io.BytesIO(snapshot()))


def test_arguments_that_are_no_words_are_refused(snapshot, network):
    for value in (torch.zeros(1), {1: 2}, [[0] * 2000], np.zeros(2)):
        network._init_kwargs["odd"] = value
        with pytest.raises(ValueError, match="constructor arguments"):
            read_edm(io.BytesIO(snapshot()))
    network._init_args = (1,)
    with pytest.raises(ValueError, match="arguments by name"):
        read_edm(io.BytesIO(snapshot()))


def test_a_file_cut_anywhere_is_refused(snapshot, tmp_path):
    whole, path = snapshot(), tmp_path / "net.pkl"
    for length in [*range(0, 200), *range(200, len(whole), 61), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is not a readable checkpoint") as raised:
            read_checkpoint(str(path))
        assert "\n" not in str(raised.value)


def test_a_flipped_bit_gives_tensors_or_one_sentence_and_with_a_digest_always_the_sentence(snapshot, tmp_path):
    whole, path = snapshot(), tmp_path / "net.pkl"
    path.write_bytes(whole)
    _, digest = read_checkpoint(str(path))
    refused = 0
    for at in np.random.default_rng(0).permutation(len(whole))[:1000]:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(at) % 8
        path.write_bytes(broken)
        try:
            state, _ = read_checkpoint(str(path))
            assert all(type(name) is str and type(tensor) is torch.Tensor for name, tensor in state.items())
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)
        with pytest.raises(ValueError, match="has sha256"):
            read_checkpoint(str(path), digest)
    assert refused > 300
    assert not (tmp_path / "ran").exists()
