"""The EndoStream window: Qt at the edge, nothing below it knows that it exists."""
