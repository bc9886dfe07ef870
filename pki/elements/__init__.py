"""Where a key lives: manifests of secure elements, endorsement certificates and credentials of TPMs. Pure."""
