"""PowerPost: figures of one post item. Source: the product's API reference, "Analytics"."""
