"""What other domains may call, if the policy lets them: one service a module, each against a hostile caller."""
