"""The routes, one file for each thing that is asked of the service."""
