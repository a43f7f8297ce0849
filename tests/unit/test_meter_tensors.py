"""The tracker's bytes against sums that can be done by hand."""

import gc

import pytest
import torch
from torch import nn

import frostline
from frostline.meter import Peaks, TensorTracker
from frostline.meter.step_peaks import StepPeaks
from tiny_models import batch, tiny_bert


class Saved(torch.autograd.Function):
    """Keeps its input and a view of it: one storage."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x, x.view(-1))
        return x.sum()

    @staticmethod
    def backward(ctx, grad):
        x, flat = ctx.saved_tensors
        return grad * torch.ones_like(x) + 0 * flat.view_as(x)


def test_a_storage_that_is_saved_twice_counts_once():
    model = nn.Linear(10, 100, bias=False)
    with TensorTracker(model) as tracker:
        y = model(torch.ones(5, 10)).sin()
        z = Saved.apply(y)
        # The input of the Linear, the input of sin, and sin's output, which Saved keeps.
        assert tracker.live["saved"] == 4 * (5 * 10 + 2 * 5 * 100)
        del y
        z.backward()
        assert tracker.live["saved"] == 0
        assert tracker.live["weights"] == tracker.live["gradients"] == 4 * 1000
        assert tracker.saved_peak == 4 * (5 * 10 + 2 * 5 * 100)


def test_what_dies_is_no_longer_counted_and_the_peak_stays():
    model = nn.Linear(1, 1, bias=False)
    with TensorTracker(model) as tracker:
        large = torch.empty(1000)
        small = large[:10].clone()
        view = large[10:]
        assert tracker.live["other"] == 4040
        del large
        assert tracker.live["other"] == 4040  # the view keeps the storage
        del view
        gc.collect()
        assert tracker.live["other"] == 40
        assert tracker.peak["other"] == 4040
        tracker.reset()
        assert tracker.peak["other"] == 40
    torch.empty(5000)
    assert tracker.peak_bytes == 44
    del small


def test_training_tells_weights_gradients_state_and_activations_apart():
    model = tiny_bert(dropout=0.1)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters())
    with TensorTracker(model) as tracker:
        for _ in range(2):
            loss = model(**batch()).loss
            assert tracker.live["saved"] > 0
            loss.backward()
            assert tracker.live["gradients"] == size
            optimizer.step()
            optimizer.zero_grad()
            tracker.mark_optimizer(optimizer)
            del loss
        gc.collect()
        assert tracker.live["optimizer"] == 2 * size + 4 * len(list(model.parameters()))
        assert tracker.live["gradients"] == tracker.live["saved"] == 0
    assert sum(tracker.peak.values()) == tracker.peak_bytes > 4 * size


def test_gradients_are_those_without_the_tracker():
    first, second = tiny_bert(), tiny_bert()
    first(**batch()).loss.backward()
    with TensorTracker(second):
        second(**batch()).loss.backward()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


def test_what_was_saved_for_a_backward_pass_that_never_comes_is_gone_with_the_output():
    model = tiny_bert()
    with TensorTracker(model) as tracker:
        model(**batch())
        gc.collect()
        assert tracker.live["saved"] == 0


def test_after_the_tracker_the_model_carries_no_hooks():
    model = tiny_bert()
    with TensorTracker(model):
        model(**batch()).loss.backward()
    assert not model._forward_pre_hooks
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


def test_what_a_method_holds_counts_from_the_start():
    model = tiny_bert()
    tuner = frostline.prepare(model, "far", priming=0.5, total_steps=4)
    held = sum(tensor.nbytes for tensor in tuner.held())
    assert held
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    with StepPeaks(model, "cpu", tuner.held()) as peaks:
        torch.ones(1)
        peaks.end_step()
    assert weights + held <= peaks.memory()["tensor_peak"] <= weights + held + 64


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_the_allocator_s():
    model = nn.Linear(1024, 1024, bias=False, device="cuda")

    def step():
        model(torch.ones(4096, 1024, device="cuda")).sin().sum().backward()
        model.weight.grad = None

    step()
    workspaces = torch.cuda.memory_allocated() - model.weight.nbytes  # cuBLAS keeps them, no tensor does
    torch.cuda.reset_peak_memory_stats()
    with TensorTracker(model, "cuda") as tracker:
        step()
    assert tracker.peak_bytes == pytest.approx(torch.cuda.max_memory_allocated() - workspaces, rel=0.05)


def test_peaks_join_to_the_higher_of_each():
    assert Peaks(5) | Peaks(3) == Peaks(5)
    joined = Peaks(5, None, 10) | Peaks(7, 2, 9)
    assert joined == Peaks(7, 2, 10)
    assert joined.deciding == 10
    assert Peaks(5).deciding == 5
