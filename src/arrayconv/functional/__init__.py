"""The public operations: validate, build the window, call one primitive."""
