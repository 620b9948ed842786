"""postme: insights of a post and of a channel. Source: the product's page "Analytics" for developers."""
