"""Making packs: the project's own training of a segmenter and a classifier, and their export.

Owns data reading, augmentation, loops and export. It must not know sources, sessions or the window.
"""
