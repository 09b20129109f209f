"""The cast sheet: who is in a film, on a page, in a picture, and in the cast.toml that a person edits."""
