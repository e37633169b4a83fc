"""A laptop's day in virtual time: agents, a vendor's account, and the ways between them."""
