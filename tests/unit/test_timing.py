"""Work is counted as operations do it, and a machine's speed is what explains measured times."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from frostline.meter.work import Work, WorkCounter
from frostline.planner.timing import Speed, fit

WORKS = [Work(10**9, 10**6, 10), Work(10**7, 10**8, 500), Work(10**8, 10**7, 5000), Work(2 * 10**9, 10**8, 90)]


def test_a_linear_step_is_three_products() -> None:
    layer, rows = nn.Linear(30, 20, bias=False), torch.ones(50, 30, requires_grad=True)
    with WorkCounter() as counter:
        output = layer(rows)
        forward = counter.take()
        output.sum().backward()
        backward = counter.take()
    assert forward.flops == 2 * 50 * 30 * 20
    assert backward.flops == 2 * forward.flops


@pytest.mark.parametrize("trains", [False, True])
def test_fused_attention_counts_as_the_products_it_stands_for(trains: bool) -> None:
    """On a CPU, too, where torch's counter has no formula."""
    query, key, value = (torch.randn(2, 4, 16, 8, requires_grad=trains) for _ in range(3))
    with WorkCounter() as counter:
        output = functional.scaled_dot_product_attention(query, key, value)
        forward = counter.take()
        if trains:
            output.sum().backward()
    product = 2 * 2 * 4 * 16 * 16 * 8
    assert forward.flops == 2 * product
    assert counter.take().flops == (5 * product if trains else 0)  # scores again, then two for each


def test_views_cost_nothing_and_the_rest_its_bytes() -> None:
    values = torch.ones(6, 4)
    with WorkCounter() as counter:
        values.t().view_as(values.t())[0].detach().unsqueeze(0)
        assert counter.take() == Work()
        values.view(24).add(1)
        assert counter.take() == Work(0, 2 * 24 * 4, 1)
    assert counter.take() == Work()


def test_fake_tensors_count_as_real_ones() -> None:
    def step() -> Work:
        model, rows = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8)), torch.ones(3, 8)
        with WorkCounter() as counter:
            model(rows).sum().backward()
            return counter.take()

    real = step()
    with FakeTensorMode():
        assert step() == real


@given(st.tuples(*[st.floats(1e-12, 1e-6)] * 3))
def test_times_that_are_linear_in_work_are_explained(rates: tuple[float, float, float]) -> None:
    true = Speed(*rates)
    found = fit(WORKS, [true.seconds(work) for work in WORKS])
    assert found.error < 1e-6
    for work in (*WORKS, Work(10**10, 10**9, 1000)):
        assert found.seconds(work) == pytest.approx(true.seconds(work), rel=1e-4)


def test_no_rate_is_negative_however_odd_the_times() -> None:
    found = fit(WORKS, [1.0, 0.1, 5.0, 0.01])
    assert min(found.flop, found.byte, found.operation) >= 0
    assert found.error > 0.1
    assert Speed.from_json(found.to_json()) == found


def test_works_add_and_multiply() -> None:
    assert Work(1, 2, 3) + Work(4, 5, 6) * 2 == Work(9, 12, 15)
