"""Puts a plan on a live model and takes it off again."""

from frostline.tuner.tuner import Tuner, prepare

__all__ = ["Tuner", "prepare"]
