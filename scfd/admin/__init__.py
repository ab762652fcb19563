"""The endpoint for operators."""
