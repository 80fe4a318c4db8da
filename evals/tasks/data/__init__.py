"""Problems: read from files and hubs, or generated."""
