"""`frostline sites` and `frostline measure`: what they print agrees with itself, and what cannot be is refused."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.cli.measure import print_measures
from frostline.meter.measure import measure


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory):
    """Return the folder of a config of a tiny ViT: no weights."""
    from transformers import ViTConfig

    folder = tmp_path_factory.mktemp("models") / "tiny-vit"
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    ViTConfig(**sizes, image_size=32, patch_size=8).save_pretrained(folder)
    return folder


def output(done):
    assert done.code == 0, done.stderr
    return done.stdout


def test_sites_are_printed_with_their_sums(command, tiny):
    said = output(command("sites", tiny, "--batch-size", 4, "--seq-len", 16))
    assert "bert.encoder.layer.1.attention.self.key" in said
    assert "By operation" in said
    content = json.loads(output(command("sites", tiny, "--batch-size", 4, "--seq-len", 16, "--json")))
    assert content["batch"] == {"input_ids": [4, 16], "attention_mask": [4, 16], "labels": [4]}
    assert content["total"] == sum(content["by_operation"].values()) == sum(content["by_block"].values())
    assert content["static"] + content["dynamic"] == content["total"]
    assert f"total {content['total'] / 2**20:,.2f} MiB: static" in said


def test_a_config_alone_is_enough(command, tiny, tiny_vit):
    folder = json.loads(output(command("sites", tiny, "--json")))
    file = json.loads(output(command("sites", Path(tiny) / "config.json", "--json")))
    assert folder["sites"] == file["sites"]
    small, large = (
        json.loads(output(command("sites", tiny_vit, "--image-size", size, "--json")))["total"] for size in (16, 64)
    )
    assert 8 * small < large


REFUSED = [
    (["nope"], "model 'nope': its config cannot be loaded", "that needs no network"),
    (["./nope"], "model './nope': there is no such file or folder", ""),
    (["TINY", "--batch-size", "0"], "a batch size of 0 is refused: give 1 or more", ""),
    (["TINY", "--batch-size", "-2"], "a batch size of -2 is refused: give 1 or more", ""),
    (["TINY", "--seq-len", "0"], "a sequence length of 0 is refused: give 1 or more", ""),
    (["TINY", "--seq-len", "33"], "a sequence length of 33 is more than the 32 positions", "say --seq-len 32 or less"),
    (["TINY", "--image-size", "224"], "reads texts: it has no image size", "leave it out"),
    (["VIT", "--seq-len", "8"], "reads images: it has an image size, and no sequence length", ""),
    (["VIT", "--image-size", "33"], "an image size of 33 is refused", "a multiple of its patches' 8 pixels"),
]


@pytest.mark.parametrize(
    ("words", "what", "way_out"), REFUSED, ids=lambda value: " ".join(value[:2]) if value else None
)
def test_sites_refuse(command, tiny, tiny_vit, monkeypatch, words, what, way_out):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    places = {"TINY": tiny, "VIT": tiny_vit}
    done = command("sites", *(places.get(word, word) for word in words))
    assert done.code == 2
    assert what in done.stderr
    assert way_out in done.stderr


@pytest.fixture(scope="module")
def measured(tiny):
    return measure(model=str(tiny), batch_size=4, sequence_length=16, count=3)


def test_predicted_is_measured(measured):
    assert measured["predicted"] == measured["measured"] > 0
    assert all(site["predicted"] == site["measured"] for site in measured["sites"])
    assert measured["measured"] == sum(site["measured"] for site in measured["sites"])


def test_peaks_and_times_are_there(measured):
    memory = measured["memory"]
    assert memory["tensor_peak"] == sum(memory["at_tensor_peak"].values())
    assert memory["saved_activations"] == measured["measured"]
    assert 50 * 2**20 < memory["process_before"] <= memory["process_peak"]
    assert len(measured["all_step_seconds"]) == 3
    assert min(measured["all_step_seconds"]) <= measured["step_seconds"] <= max(measured["all_step_seconds"])


def test_measures_are_printed(measured, capsys):
    print_measures(measured)
    said = " ".join(capsys.readouterr().out.split())  # a long path breaks the line
    assert "full, storage exact" in said
    assert "bert.encoder.layer.1.attention.self.key" in said
    assert f"tensor peak {measured['memory']['tensor_peak'] / 2**20:,.0f} MiB: weights" in said
    assert "process peak" in said
    assert f"step time {measured['step_seconds']:.3f} s, median of 2" in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--steps", "0"], "0 steps are refused"),
        (["--lr", "-1"], "a learning rate of -1.0 is refused"),
        (["--set", "rate"], "--set 'rate' is refused"),
        (["--method", "slimfit", "--set", "rate=7"], "rate=7 is refused"),
        (["--storage", "compat"], "storage='compat' is unknown; did you mean 'compact'?"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_measure_refuses(command, tiny, words, what):
    done = command("measure", tiny, *words)
    assert done.code == 2
    assert what in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_out_of_memory_is_said_and_sets_the_exit_code(tiny):
    limit = 3 * 2**30  # of addresses; torch takes a part of them, and the first activation needs 2 GB
    done = subprocess.run(
        [sys.executable, "-m", "frostline", "measure", str(tiny), "--batch-size", "1000000", "--seq-len", "32"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 3
    assert "do not fit into this machine's memory" in done.stderr
    assert "Lower the batch size" in done.stderr
    assert "Traceback" not in done.stderr
