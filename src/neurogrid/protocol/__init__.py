"""What travels between client, gateway and node. Imports nothing of ours; both sides import it."""
