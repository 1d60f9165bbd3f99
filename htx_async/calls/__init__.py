"""One request carried to an answer, and how long and how urgently that goes on."""
