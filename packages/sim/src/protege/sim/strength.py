"""The strength of the randomisation, which a training may raise while it learns (a curriculum over the run's budget)."""

from torch import Tensor


def eased(drawn: Tensor, nominal: float, strength: Tensor | None) -> Tensor:
    """Values between the nominal one and those drawn, (...).

    Args:
        drawn: (...), at full strength.
        strength: () on the same device, 0 for nominal values to 1 for those drawn; None for 1.
    """
    return drawn if strength is None else nominal + strength * (drawn - nominal)
