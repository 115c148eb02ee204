"""Views of evidence and comparisons for people: text tables and pictures."""
