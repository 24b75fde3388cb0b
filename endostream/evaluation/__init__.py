"""Measuring packs and predictions on labelled pictures, tables and clips."""
