"""Writes the sources of the dbt project from the public views."""
