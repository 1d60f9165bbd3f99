"""What HTX says and understands, with its sources: endpoints, generations of the API, signatures.
Pure, but for `environment`."""
