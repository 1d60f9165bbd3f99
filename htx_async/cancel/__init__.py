"""What a cancel is: procedures that act, a ledger of what came of it, a judge that tells."""
