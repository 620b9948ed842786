"""`tidemark status`: one screen with the state, lag, rates and sizes of services and engines. Reads only."""
