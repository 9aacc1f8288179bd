"""What makes two fits the same fit: data, model, versions and flags, as digests.

``digests`` are of arrays. ``content`` describes any object by what the object holds
(``array_content``, ``instance_content``, ``graph_digests``), ``code`` a function by the syntax of
its source and of what the function calls (``syntax_digests``, ``function_code``, ``script_code``,
``own_modules``, ``module_origins``). ``number_flags`` are the settings of JAX and XLA on which
numbers depend. ``fit_identity`` compares the identity of a fit with that of a saved fit.
"""
