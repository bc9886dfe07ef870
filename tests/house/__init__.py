"""The structure of the project, held by tests."""
