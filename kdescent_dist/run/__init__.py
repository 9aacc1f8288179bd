"""One run from config to report.

``runner`` prepares the run, then fits, inspects or reports. ``directory`` is the run directory.
``phases`` saves and resumes the parts of a run. ``after_fit`` has the phases after the last step.
``result`` decides the contents of ``result.json``. ``sweep`` handles fits that are jobs of a sweep.
"""
