"""Who may send when."""
