"""Makes the bills of materials of the image and of what `tidemark up` runs besides, with licences (CycloneDX)."""
