"""The truth: peaks of memory and times of a real run, each figure named for what it counts."""

from __future__ import annotations

from frostline.meter.process import Peaks, besides, peaks, reset_peaks, synchronize
from frostline.meter.saved import SavedMeter
from frostline.meter.tensors import CATEGORIES, TensorTracker

__all__ = ["CATEGORIES", "Peaks", "SavedMeter", "TensorTracker", "besides", "peaks", "reset_peaks", "synchronize"]
