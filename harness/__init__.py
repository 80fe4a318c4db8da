"""How it runs: configuration, rollouts, the loop, the ledger, the record."""
