"""The transparency log: leaves, Merkle tree, signed notes, tiles, proofs (C2SP, RFC 6962)."""
