"""The keyroom: who may use which key, in what order, written down."""
