"""The strongbox: tokens and keys behind PKCS#11. It knows key ids, never what they mean."""
