"""What a threshold and a temperature may be."""

from collections.abc import Mapping

from ..errors import NunerError


def check_limits(
    name: str, threshold: float | Mapping[str, float] | None, temperature: float
) -> None:
    """Refuse numbers with which nothing or everything would be found, in silence.

    name (str): Of the component.
    threshold (float | Mapping[str, float] | None): A probability, for all or for each.
    temperature (float): What logits are divided by.
    RAISES (NunerError): N510 for a threshold that is no probability, such as a
        percentage, and for a temperature that is not above 0.
    """
    each = threshold.values() if isinstance(threshold, Mapping) else [threshold]
    if not all(one is None or 0 <= one <= 1 for one in each):
        expected = "a probability from 0 to 1, or one for each label"
        raise NunerError(
            "N510", name=name, key="threshold", found=threshold, expected=expected
        )
    if not temperature > 0:
        raise NunerError(
            "N510",
            name=name,
            key="temperature",
            found=temperature,
            expected="a number above 0",
        )
