"""record.json and its neighbours: schema, reading, writing, fingerprints."""
