"""The two HTTP servers and the upstream client. Nothing here depends on the API of a vendor."""
