"""One run from config to report.

``runner`` prepares the run, then fits, inspects or reports. ``directory`` is the run directory.
``phases`` saves and resumes the parts of a run, and ``kept_parts`` those parts of a phase that have
files of their own. ``starts`` has the phase before the first step; ``after_fit`` and ``posterior``
have the phases after the last. ``coverage`` fits simulated catalogs with the setup of a run, which
``refits`` gives. ``result`` decides the contents of ``result.json``. ``sweep`` handles fits that
are jobs of a sweep.
"""
