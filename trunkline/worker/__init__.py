"""The only loop: events in order by line, each to its outcome, exactly accounted."""
