"""What a line's software runs: certificates and confirmations, also while the service is away (`kedge station`)."""
