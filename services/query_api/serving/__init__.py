"""One declaration of an endpoint, one server of endpoints, and the description that is generated from them."""
