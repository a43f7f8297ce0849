"""What waits for the backward pass, as values: each site with its bytes, and their sums."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from frostline.anatomy.values import Region

Key = TypeVar("Key", bound=Hashable)
SiteKind = Literal["static", "dynamic", "partly static", "shared", "kept"]


@dataclass(frozen=True, slots=True)
class Site:
    """One place where an operation saves activations.

    Attributes:
        module: name of the innermost module in whose forward pass the operation ran, "" for the model itself.
        operation: the function that saved, for instance `linear`, `gelu`, `scaled_dot_product_attention`.
        call: which of the module's calls of that operation, 0 for the first.
        region: `embeddings`, `blocks` or `head`, by forward order.
        block: depth of the block, None outside the blocks.
        bytes: of the storages that this site is the first to keep.
        shared: bytes of the storages that an earlier site keeps already.
        static: of `bytes`, what stays when all weights are frozen; None where that was not asked.
        sharers: the modules that keep some of these storages as well, and nothing of their own for it.
    """

    module: str
    operation: str
    call: int
    region: Region
    block: int | None
    bytes: int
    shared: int
    static: int | None = None
    sharers: tuple[str, ...] = ()

    @property
    def dynamic(self) -> int | None:
        """Of `bytes`, what goes when all weights are frozen."""
        return None if self.static is None else self.bytes - self.static

    @property
    def kind(self) -> SiteKind:
        """`shared` where nothing is this site's own; else which part stays, or only `kept` if that was not asked."""
        if self.bytes == 0 and not self.static:
            return "shared"
        if self.static is None:
            return "kept"
        if self.static == 0:
            return "dynamic"
        return "static" if self.static >= self.bytes else "partly static"

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells this site from all others of its model."""
        return self.module, self.operation, self.call


@dataclass(frozen=True, slots=True)
class Sites:
    """Every site of a model, in forward order. Each storage counts once, weights and buffers never.

    Attributes:
        sites: the sites.
        device: kind of device, `cpu` or `cuda`; operations keep different things on different ones.
    """

    sites: tuple[Site, ...]
    device: str

    def __iter__(self) -> Iterator[Site]:
        """Go through the sites in forward order."""
        return iter(self.sites)

    def __len__(self) -> int:
        """Return how many sites there are."""
        return len(self.sites)

    @property
    def total(self) -> int:
        """Bytes kept at the end of the forward pass."""
        return sum(site.bytes for site in self.sites)

    @property
    def static(self) -> int | None:
        """Bytes that stay when all weights are frozen but the error signal passes all the way; None if not asked."""
        parts = [site.static for site in self.sites]
        return None if None in parts else sum(part or 0 for part in parts)

    @property
    def dynamic(self) -> int | None:
        """Bytes that go with the weights' gradients."""
        return None if self.static is None else self.total - self.static

    def by_operation(self) -> dict[str, int]:
        """Return the bytes of each operation, largest first."""
        sums = self._sums(lambda site: site.operation)
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def by_block(self) -> dict[int | str, int]:
        """Return the bytes of each block by depth, and of `embeddings` and `head`, in forward order."""
        return self._sums(lambda site: site.region if site.block is None else site.block)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; the names of blocks become strings."""
        return {
            "device": self.device,
            "total": self.total,
            "static": self.static,
            "dynamic": self.dynamic,
            "by_operation": self.by_operation(),
            "by_block": {str(block): size for block, size in self.by_block().items()},
            "sites": [
                {
                    "module": site.module,
                    "operation": site.operation,
                    "call": site.call,
                    "region": site.region,
                    "block": site.block,
                    "kind": site.kind,
                    "bytes": site.bytes,
                    "static": site.static,
                    "shared": site.shared,
                }
                for site in self.sites
            ],
        }

    def _sums(self, key: Callable[[Site], Key]) -> dict[Key, int]:
        sums: dict[Key, int] = {}
        for site in self.sites:
            sums[key(site)] = sums.get(key(site), 0) + site.bytes
        return sums
