"""Step 4: one light student that has learned from all teachers, and its evaluation."""
