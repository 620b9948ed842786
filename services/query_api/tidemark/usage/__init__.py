"""What a workspace's polls cost at platforms that bill for what is read."""
