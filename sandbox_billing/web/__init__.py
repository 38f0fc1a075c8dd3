"""The front desk: HTTP in, HTTP out."""
