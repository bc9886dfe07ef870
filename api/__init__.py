"""The counter: HTTP and command line. It decides nothing and holds no key."""
