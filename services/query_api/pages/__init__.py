"""The pages for browsers: the workspace's dashboard `/app`, and the operator's page `/ops`.

Served are static files only; what the pages show, their scripts read from the public API with the reader's own key.
"""
