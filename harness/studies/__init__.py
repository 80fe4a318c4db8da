"""Arms x seeds: study files, planned runs, status, launcher."""
