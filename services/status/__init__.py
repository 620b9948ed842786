"""`tidemark status`: one screen of what runs, how far behind it is, and what it holds. Reads only."""
