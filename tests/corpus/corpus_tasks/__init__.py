"""The tasks, one module per topic; a wrong one and its mended one stand together."""
