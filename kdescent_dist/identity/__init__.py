"""The identity of a fit: digests of data and model, versions and flags.

``digests`` digests arrays. ``content`` digests any object by its contents (``array_content``,
``instance_content``, ``graph_digests``). ``code`` digests a function by the syntax tree of its
source and of the code that it uses (``syntax_digests``, ``function_code``, ``script_code``,
``own_modules``, ``module_origins``). ``number_flags`` are the settings of JAX and XLA that change
numbers. ``fit_identity`` compares the identity of a fit with the identity of a saved fit,
and ``earlier_settings`` are those with which a fit of an earlier version goes on.
"""
