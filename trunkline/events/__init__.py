"""What Telnyx tells us: its kinds of events, and the samples of each we carry ourselves."""
