"""Behind the doors: one technology per folder."""
