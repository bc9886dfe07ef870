"""Storms and outages: real keyroom processes under load that are killed, or whose machine fails them."""
