"""PostBeam: reactions to a post. Source: made up for the test that adds a product."""
