"""The words of an arch, in whatever spelling a file or a flag has them."""

import numpy as np
import pytest

from fastdiff.unets import build
from fastdiff.unets.arch import normalised


@pytest.mark.parametrize("given", ["1,2", "(1, 2)", "[1,2,]", [1, 2], (1.0, 2.0), ["1", "2"], np.array([1, 2])])
def test_tuples_are_read_from_any_spelling(given):
    for word in ("channel_mult", "ch_mult", "attention_resolutions", "attn_resolutions", "resample_filter"):
        found = normalised({word: given}, "arch")[word]
        assert found == (1, 2) and all(type(number) is int for number in found)


def test_other_words_keep_their_value_and_none_is_not_given():
    given = dict(ch=32.0, channel_mult=0.5, on=True, name="adm", dropout=0.1, sigma_max=float("inf"), width=[512])
    expected = dict(ch=32, channel_mult=(0.5,), on=True, name="adm", dropout=0.1, sigma_max=float("inf"), width=512)
    found = normalised(given | dict(num_heads=None), "arch")
    assert found == expected
    assert type(found["ch"]) is int and found["on"] is True


def test_no_attention_is_a_number_of_resolutions_too_but_no_multipliers_are_not():
    assert normalised({"attn_resolutions": []}, "arch") == {"attn_resolutions": ()}
    assert normalised({"channel_mult": ""}, "arch") == {}  # create_model's "by the size of the image"
    with pytest.raises(ValueError, match="^arch: channel_mult is empty; it must be numbers"):
        normalised({"channel_mult": ()}, "arch")


def test_the_native_network_reads_them_as_well():
    usual = dict(size=8, channels=8, multipliers=[1, 2], blocks=1, attention=[4], classes=0)
    state = build("native", usual).state_dict()
    for words in (dict(multipliers="1,2", attention=4, channels=8.0), dict(classes=None, in_channels=None)):
        assert build("native", usual | words, state).rungs == 4
    with pytest.raises(ValueError, match="arch of the native family: .*'colour'"):
        build("native", usual | dict(colour=1))


@pytest.mark.parametrize("family", ["adm", "ddim", "edm", "native"])
def test_what_is_no_arch_is_refused_in_one_sentence(family):
    for arch in (None, [1], "ddim"):
        with pytest.raises(
            ValueError, match=f"^arch of the {family} family is a .*; it must be a mapping of arguments$"
        ):
            build(family, arch)
