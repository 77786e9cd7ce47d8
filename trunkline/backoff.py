"""How long to wait before trying again. Pure: chance is an argument."""


def backoff(attempt: int, first_seconds: float, most_seconds: float, chance: float) -> float:
    """Full jitter: up to first * 2^attempt, so that many who failed do not return as one."""
    ceiling = min(most_seconds, first_seconds * 2.0 ** min(attempt, 32))
    return ceiling * (1.0 - chance)
