"""PostFlow: figures and scores of a post group. Source: the product's API reference, "Get post group metrics"."""
