"""What makes the definition in `core/` fast and forgiving; closed at first."""
