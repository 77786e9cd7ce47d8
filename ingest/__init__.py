"""The door: proves each webhook and makes it durable, or says why not."""
