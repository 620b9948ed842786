"""OpenPost: snapshots of a workspace, and figures of a post. Source: the product's API reference, "Analytics"."""
