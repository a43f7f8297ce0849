"""A model seen as blocks and units in forward order; found by structure and by a trace, never by class names."""

from frostline.anatomy.discover import discover
from frostline.anatomy.inventory import Site, Sites
from frostline.anatomy.values import KINDS, Anatomy, FeedForward, Kind, Region, Unit

__all__ = ["KINDS", "Anatomy", "FeedForward", "Kind", "Region", "Site", "Sites", "Unit", "discover"]
