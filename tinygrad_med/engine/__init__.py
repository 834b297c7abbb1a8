"""What makes the definition in `core/` fast, and its errors clear; a reader may leave it closed at first."""
