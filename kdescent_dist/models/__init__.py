"""The models of the shipped experiments: templates for a model of your own."""
