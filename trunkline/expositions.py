"""Adds up the metrics of several processes, so that one scrape tells of all of them. Pure."""

import re

_sample = re.compile(r"^([^\s{]+(?:\{.*\})?) (\S+)$").match
# Where a sum would say nothing: the worst, the earliest or the only value speaks for all.
_WORST = ("trunkline_loop_lag_seconds", "trunkline_clock_suspect", "trunkline_key_files_bad")
_LEAST = ("trunkline_ready", "process_start_time_seconds", "python_info")


class Sum:
    """Counters of a process that has ended stay in the sum: a total must never go down."""

    def __init__(self) -> None:
        self._comments: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._living: dict[int, tuple[int, dict[str, float]]] = {}
        self._ended: dict[str, float] = {}

    def note(self, worker: int, pid: int, text: str) -> None:
        values: dict[str, float] = {}
        for line in text.splitlines():
            if line.startswith("# "):
                _, keyword, name, rest = (*line.split(" ", 3), "")[:4]
                if keyword == "TYPE":
                    self._kinds[name] = rest
                comments = self._comments.setdefault(name, [])
                if line not in comments:
                    comments.append(line)
            elif found := _sample(line):
                values[found[1]] = float(found[2])
        before = self._living.get(worker)
        if before is not None and before[0] != pid:
            for sample, value in before[1].items():
                if self._family(sample)[1] in ("counter", "histogram"):
                    self._ended[sample] = self._ended.get(sample, 0.0) + value
        self._living[worker] = (pid, values)

    def render(self) -> str:
        totals = dict(self._ended)
        for _, values in self._living.values():
            for sample, value in values.items():
                totals[sample] = _join(sample, totals.get(sample), value)
        families: dict[str, list[str]] = {}
        for sample, value in totals.items():
            name, _ = self._family(sample)
            families.setdefault(name, []).append(f"{sample} {value!r}")
        lines = []
        for name, samples in families.items():
            lines += [*self._comments.get(name, []), *samples]
        return "\n".join(lines) + "\n"

    def _family(self, sample: str) -> tuple[str, str]:
        name = sample.partition("{")[0]
        for suffix in ("", "_bucket", "_sum", "_count"):
            family = name.removesuffix(suffix)
            if family in self._kinds:
                return family, self._kinds[family]
        return name, "untyped"


def _join(sample: str, before: float | None, value: float) -> float:
    if before is None:
        return value
    if sample.startswith(_WORST):
        return max(before, value)
    if sample.startswith(_LEAST):
        return min(before, value)
    return before + value
