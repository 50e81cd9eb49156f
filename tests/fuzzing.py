"""How many random inputs a test gets: few and the same in each run, or ever others.

With SPACY_NUNER_FUZZ=20 each test that is marked `fuzz` gets twenty times as many,
drawn anew; `benchmarks/fuzz.py` runs them so, seed after seed.
"""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("SPACY_NUNER_FUZZ", "1"))


def examples(count: int) -> settings:
    """RETURNS (settings): For a test that gets so many inputs in an ordinary run."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        print_blob=TIMES > 1,
        # It goes by the clock, which a busy machine slows down.
        suppress_health_check=[HealthCheck.too_slow],
    )
