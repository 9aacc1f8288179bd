"""Sample catalogs that are shipped with the package; README.md tells where they come from."""
