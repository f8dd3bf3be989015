"""A custom operator: its kernel, two models, and what it costs."""
