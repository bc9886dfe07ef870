"""The rule book: pure decisions about bytes. No clock, no I/O, no randomness, no private key."""
