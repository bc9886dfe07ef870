"""X.509: names, requests, profiles, certificates, lint (RFC 5280, IEEE 802.1AR)."""
