"""What options are refused, and that all are told at once."""

from __future__ import annotations

from typing import Any

import pytest

from lamina.runtime.errors import InputError
from lamina.runtime.generation.options import Generation


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "`max_new_tokens` is 0, and must be a whole number from 1 to 1048576"),
        ({"max_new_tokens": True}, "`max_new_tokens` is True, and must be a whole number"),
        ({"max_new_tokens": 2.0}, "`max_new_tokens` is 2.0, and must be a whole number"),
        ({"max_new_tokens": None}, "`max_new_tokens` is None, and must be a whole number"),
        ({"temperature": -1}, "`temperature` is -1, and must be a number from 0 to 1e+06"),
        ({"temperature": float("nan")}, "`temperature` is nan, and must be a number"),
        ({"temperature": 1e-9}, "`temperature` is 1e-09, and must be 0, for the most likely token, or at least 1e-06"),
        ({"temperature": "hot"}, "`temperature` is 'hot', and must be a number"),
        ({"temperature": 1, "top_k": 0}, "`top_k` is 0, and must be a whole number from 1 to"),
        ({"temperature": 1, "top_p": 0}, "`top_p` is 0, and must be a number from 1e-06 to 1"),
        ({"temperature": 1, "min_p": 1.5}, "`min_p` is 1.5, and must be a number from 0 to 1"),
        ({"repetition_penalty": 0}, "`repetition_penalty` is 0, and must be a number from 1e-06"),
        ({"early_stopping": "always"}, "`early_stopping` is 'always', and must be True, False or 'never'"),
        ({"early_stopping": 1}, "`early_stopping` is 1, and must be True, False or 'never'"),
        ({"eos": [-1]}, "`eos` is (-1,), and must be token ids"),
        ({"eos": "</s>"}, "`eos` is ('</s>',), and must be token ids"),
        ({"start": []}, "`start` is (), and a text must start from a token"),
        ({"start": [-1]}, "`start` is (-1,), and must be token ids"),
        ({"stop": ["a", ""]}, "`stop` is ('a', ''), and must be strings of 1 to 1000 characters"),
        ({"seed": -1}, "`seed` is -1, and must be a whole number from 0 to 18446744073709551615"),
        ({"beams": 2000}, "`beams` is 2000, and must be a whole number from 1 to 1024"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "`min_new_tokens` is 9, more than `max_new_tokens`, which is 8"),
        ({"top_k": 5}, "`top_k` is 5, and without a `temperature` above 0 nothing is drawn"),
        ({"temperature": 0.5, "beams": 4}, "`temperature` is 0.5, and 4 `beams` draw nothing"),
        ({"beams": 4, "beam_groups": 3}, "`beams` is 4, which 3 `beam_groups` do not share evenly"),
        ({"beams": 4, "diversity": 0.5}, "`diversity` is 0.5, and there is one group of beams"),
        ({"num_return": 3, "beams": 2}, "`num_return` is 3, which needs as many `beams`, or a `temperature` above 0"),
        ({"beems": 3}, "`beems` is not an option of generation; did you mean `beams`?"),
    ],
)
def test_refusals(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        Generation.of(options)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InputError) as refused:
        Generation.of({"beems": 3, "temperature": -1, "seed": "x", "stop": ""})
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["`beems`", "`seed`", "`temperature`", "`stop`"]
    with pytest.raises(InputError) as refused:
        Generation.of({"top_k": 3, "top_p": 0.5, "beams": 3, "beam_groups": 2, "num_return": 4})
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["`top_k`", "`top_p`", "`beams`", "`num_return`"]


def test_one_stands_for_a_list_of_one() -> None:
    options = Generation.of({"eos": 2, "stop": "a", "suppress_tokens": [3, 4], "start": 0})
    assert (options.eos, options.stop, options.suppress_tokens, options.start) == ((2,), ("a",), (3, 4), (0,))
