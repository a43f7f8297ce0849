"""Fake tensors: what tokens say is known, as far as it decides shapes; all else has no values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensor

from frostline.anatomy.fakes import Fakes, fakes

CPU = torch.device("cpu")
TOKENS = torch.tensor([[5, 6, 2], [7, 8, 2]])


def ends(tokens: Tensor, hidden: Tensor) -> Tensor:
    """Read what lies at the end of each text, as T5's and BART's classifiers do."""
    at_end = tokens.eq(2)
    if len(torch.unique_consecutive(at_end.sum(1))) > 1:
        raise ValueError("All examples must have the same number of <eos> tokens.")
    return hidden[at_end, :].view(tokens.shape[0], -1, hidden.shape[-1])[:, -1, :]


def test_the_end_of_each_text_is_found_and_has_a_gradient() -> None:
    with fakes() as known:
        hidden = torch.randn(2, 3, 4, requires_grad=True)
        found = ends(known.like(TOKENS, CPU), hidden)
        found.sum().backward()
    assert isinstance(found, FakeTensor)
    assert found.shape == (2, 4)
    assert hidden.grad is not None
    assert hidden.grad.shape == hidden.shape


def test_what_a_model_refuses_for_its_tokens_it_refuses_here_too() -> None:
    tokens = torch.tensor([[2, 6, 2], [7, 8, 2]])
    with fakes() as known, pytest.raises(ValueError, match="same number"):
        ends(known.like(tokens, CPU), torch.randn(2, 3, 4))


def test_what_is_shifted_and_written_is_followed_and_the_batch_stays() -> None:
    tokens = TOKENS.clone()
    with fakes() as known:
        own = known.like(tokens, CPU)
        shifted = own.new_zeros(own.shape)
        shifted[:, 1:] = own[:, :-1].clone()
        shifted[:, 0] = 9
        shifted.masked_fill_(shifted == 5, 4)
        own.fill_(1)
        assert shifted.flatten().tolist() == [9, 4, 6, 9, 7, 8]
        assert bool(own.all())
    assert torch.equal(tokens, TOKENS)


def unknown_written(known: Fakes) -> Tensor:
    """Write what nobody knows into a view of what was known."""
    own = known.like(TOKENS, CPU)
    own[:, 1:].copy_(torch.randint(0, 9, (2, 2)))
    return own


@pytest.mark.parametrize(
    "make",
    [
        lambda known: torch.randint(0, 9, (2, 3)),
        lambda known: torch.randn(2, 3) > 0,
        lambda known: known.like(TOKENS, CPU)[:, None].expand(2, 3, 3),
        lambda known: torch.empty_like(known.like(TOKENS, CPU)),
        lambda known: torch.bernoulli(known.like(TOKENS, CPU).eq(2).float()),
        unknown_written,
    ],
    ids=["drawn", "computed from no token", "of pairs of tokens", "not filled", "drawn from tokens", "overwritten"],
)
def test_what_is_not_known_has_no_values(make: object) -> None:
    with fakes() as known:
        tensor = make(known)
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            bool(tensor.all())


def test_weights_are_not_copied() -> None:
    with fakes() as known:
        assert not known.knows(known.like(torch.ones(3), CPU))
        assert not known.knows(known.like(torch.ones(3, dtype=torch.long, device="meta"), CPU))
        assert not known.knows(known.like(torch.ones(1, 2, 3, dtype=torch.long), CPU))
