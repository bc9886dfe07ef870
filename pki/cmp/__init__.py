"""Certificate Management Protocol (RFC 9810), as far as its lightweight profile (RFC 9483) needs it."""
