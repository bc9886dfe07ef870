"""A witness of transparency logs (c2sp.org/tlog-witness): a small server of its own, without a keyroom."""
