"""Declares endpoints, serves them, and generates the OpenAPI description from their declarations."""
