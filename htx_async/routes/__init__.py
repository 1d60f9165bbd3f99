"""One module for each generation of the exchange's API. Pure."""
