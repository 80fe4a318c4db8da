"""Text -> verdict."""
