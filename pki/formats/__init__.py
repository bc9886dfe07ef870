"""Firmware container formats: read, prepare, attach, verify."""
