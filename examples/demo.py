"""Fine-tunes the embedded model on the embedded corpus three ways and prints one table. Offline, under four minutes.

make demo            or            python examples/demo.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

METHODS = {
    "full": ["method=full", "learning_rate=1e-4"],
    "FAR_10": ["method=far", "retention=0.1", "learning_rate=1e-4"],
    "SlimFit 0.9": ["method=slimfit", "rate=0.9", "learning_rate=3e-4"],
}
# Sequential: the corpus comes in minimal pairs, and both halves of a pair in one batch teach far more than one.
COMMON = ["epochs=1", "sampling=sequential", "warmup_steps=20"]
COMMON += ["eval_strategy=no", "save_strategy=no", "logging_steps=50"]


def train(flags: list[str], folder: str) -> dict:
    """Train in a process of its own, so that its peak of memory is its own; return the run's record."""
    command = [sys.executable, "-m", "frostline", "train", *flags, *COMMON, f"output={folder}", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = ""
        for line in process.stdout:
            if not line.startswith("{"):
                print("  " + line.rstrip(), flush=True)
    if process.returncode != 0:
        sys.exit(process.returncode)
    return json.loads(line)


def main() -> None:
    """Run the three methods and print the table."""
    console = Console()
    began = time.perf_counter()
    table = Table(title="MiniLM on the acceptability corpus, 1 epoch")
    for column in ("method", "accuracy", "trainable", "seconds a step", "peak memory"):
        table.add_column(column, justify="left" if column == "method" else "right")
    with tempfile.TemporaryDirectory(prefix="frostline-demo-") as folder:
        for name, flags in METHODS.items():
            console.print(f"[bold]{name}[/bold]: frostline train {' '.join(flags + COMMON)}", highlight=False)
            record = train(flags, f"{folder}/{flags[0].partition('=')[2]}")
            table.add_row(
                name,
                f"{record['metrics']['accuracy']:.3f}",
                f"{record['trainable_parameters']:,}",
                f"{record['step_seconds']:.3f}",
                f"{record['peak_bytes'] / 2**20:,.0f} MiB",
            )
    console.print(table)
    console.print(f"{time.perf_counter() - began:.0f} s in all", highlight=False)


if __name__ == "__main__":
    main()
