"""The command line `kedge`: one file per noun, one error handler in `main`."""
