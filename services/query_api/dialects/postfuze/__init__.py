"""PostFuze: figures of a post, figures and health of an account. Source: the product's page "Analytics"."""
