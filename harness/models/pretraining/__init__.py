"""How the embedded models were made, and how to make another."""
