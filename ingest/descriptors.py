"""How many connections this process can hold: as many as are set, or as its descriptors allow."""

import resource

# For the stream, its brokers, the probe, logs and key files; none of these may lose to a flood.
_RESERVED = 96


def connections_allowed(wanted: int) -> int:
    """Raises the soft limit as far as it is ours to raise.

    At the limit the system accepts and drops connections without a word to anybody: eviction must
    come first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVED
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, max(1, soft - _RESERVED))
