"""Programs to run and to read: ``python -m arrayconv.examples.digits`` and others."""
