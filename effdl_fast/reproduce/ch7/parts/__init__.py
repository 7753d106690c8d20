"""What several experiments of chapter 7 share."""
