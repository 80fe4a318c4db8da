"""How fast and how large: suites that time the harness, alone and beside its peers, and leave a record."""
