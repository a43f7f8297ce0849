"""Puts a plan on a live model and takes it off again."""

from frostline.tuner.preparing import prepare
from frostline.tuner.tuner import Tuner

__all__ = ["Tuner", "prepare"]
