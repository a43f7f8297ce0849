"""Settings of the whole test suite."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads anything
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
