"""Every error that crosses a room of ours, whose fault it is, and whether trying again can help.

TrunklineError
├── Misconfigured        the operator's: names the setting; no retry, refuse to start (exit 2)
├── NotReachable         something we need is not there now (exit 3)
└── StreamError
    ├── StreamUnavailable    the stream's: try again later
    │   └── TopicMissing     the operator's: try again after `trunkline topics apply`
    ├── RecordRefused        this one record can never be appended (too large, ...): no retry
    ├── GroupTaken           another process of this machine consumes for the same group
    └── Fenced               the partition has another owner: drop what was in hand, it is theirs
"""


class TrunklineError(Exception):
    pass


class Misconfigured(TrunklineError):
    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class NotReachable(TrunklineError):
    pass


class StreamError(TrunklineError):
    pass


class StreamUnavailable(StreamError):
    pass


class TopicMissing(StreamUnavailable):
    pass


class RecordRefused(StreamError):
    pass


class GroupTaken(StreamError):
    pass


class Fenced(StreamError):
    pass
