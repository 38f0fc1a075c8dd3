"""Tests of the alert rules: that they are sound, and that each condition raises its alert."""
