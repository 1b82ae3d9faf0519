"""Scenes on disk or rendered, and how they become batches of tasks."""
