"""Trust sets, manifests, counters, receipts and the rules of a device (docs/trust.cddl)."""
