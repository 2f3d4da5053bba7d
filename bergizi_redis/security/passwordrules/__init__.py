"""What makes a password one that people would guess: a module for each reason."""
